"""s3://bucket/prefix: objects of any server that speaks S3."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch.checks import Kind, check_names, safe_name
from controllable_inference.fetch.digest import combined
from controllable_inference.fetch.download import Listing, RemoteFile, Transient
from controllable_inference.fetch.place import Place
from controllable_inference.model_files import is_wanted

# One request brings so much: what breaks off costs little, and no request runs into a time limit.
_RANGE = 16 << 20
_KEYS = (
    "check that the Secret in secretRef is there with access-key-id and secret-access-key, "
    "and that they may list and read the bucket"
)

_NOT_THERE = "{} has no such bucket or object; check the uri"


class S3Remote:
    """What lies under a prefix."""

    def __init__(self, uri: str, kind: Kind, environ: Mapping[str, str]) -> None:
        parts = urlsplit(uri)
        self._uri, self._prefix = uri, parts.path.strip("/")
        self._kind = kind
        self._endpoint = environ.get("AWS_ENDPOINT_URL") or "AWS"
        self._store = _store(parts.netloc, environ)

    def listing(self) -> Listing:
        start = len(self._prefix) + 1 if self._prefix else 0
        with _explained(self._uri, self._endpoint):
            objects = [
                entry for page in obstore.list(self._store, prefix=self._prefix or None) for entry in page
            ]
        by_name = {entry["path"][start:]: entry for entry in objects if not entry["path"].endswith("/")}
        if not by_name:
            raise ModelNotFound(f"{self._uri}: the bucket has no objects under this prefix")
        check_names(by_name, self._uri, self._kind)
        wanted = {name: entry for name, entry in sorted(by_name.items()) if is_wanted(name)}
        files = [
            RemoteFile(safe_name(name, self._uri), entry["size"], key=f"{entry['path']}\n{entry['e_tag']}")
            for name, entry in wanted.items()
        ]
        return Listing(combined({file.name: f"{file.key} {file.size}" for file in files}), tuple(files))

    @contextmanager
    def read(self, file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        yield start, self._chunks(file, start)

    def finish(self, folder: Path, files: dict[str, Path], place: Place) -> None:
        """They are a model already."""

    def digest(self, sha256_by_name: dict[str, str]) -> str:
        return combined(sha256_by_name)

    def _chunks(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        path, _, etag = file.key.partition("\n")
        size = file.size or 0
        while start < size:
            end = min(start + _RANGE, size)
            with _explained(f"{self._uri}: {file.name}", self._endpoint):
                options: Any = {"range": (start, end), "if_match": etag}
                chunk = bytes(obstore.get(self._store, path, options=options).bytes())
            yield chunk
            start += len(chunk)


def _store(bucket: str, environ: Mapping[str, str]) -> S3Store:
    endpoint = environ.get("AWS_ENDPOINT_URL")
    # Without any credentials the client would ask the cloud's metadata service, which few pods may.
    given = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    config: dict[str, Any] = {"skip_signature": True} if not any(map(environ.get, given)) else {}
    names = ("access_key_id", "secret_access_key", "session_token")
    config |= {name: value for name in names if (value := environ.get(f"AWS_{name.upper()}"))}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        bucket,
        region=environ.get("AWS_REGION") or "us-east-1",
        client_options={"allow_http": bool(endpoint and endpoint.startswith("http://")), "timeout": "120s"},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        **config,
    )


@contextmanager
def _explained(uri: str, endpoint: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ModelNotFound(f"{uri}: {_NOT_THERE.format(endpoint)}") from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ModelNotFound(f"{uri}: access denied by {endpoint}; {_KEYS}") from error
    except PreconditionError as error:
        raise ModelFetchFailed(f"{uri}: was changed while it was read; the next try reads anew") from error
    except GenericError as error:
        raise _generic(str(error), uri, endpoint) from error
    except (BaseError, ValueError) as error:
        raise ModelFetchFailed(f"{uri}: {endpoint} failed: {error}") from error


def _generic(text: str, uri: str, endpoint: str) -> Exception:
    """What the client has no type for, by what stands in its message (which is many lines long)."""
    status = re.search(r"status code: (\d+)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    said = f" ({code[1]})" if code else ""
    if status and status[1] in ("401", "403"):
        return ModelNotFound(f"{uri}: access denied by {endpoint}{said}; {_KEYS}")
    if status and status[1] == "404":
        return ModelNotFound(f"{uri}: {_NOT_THERE.format(endpoint)}{said}")
    if status:
        return Transient(f"{endpoint} answers {status[1]}{said}")
    if "dns error" in text:
        return Transient(
            f"the name of {endpoint} can't be resolved; check the Secret's endpoint, the cluster's DNS and "
            "its network policies"
        )
    return Transient(f"{endpoint} failed: {text.splitlines()[0][:300]}")
