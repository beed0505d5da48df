"""https://host/model.tar.gz: an archive of one model's folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch import http
from controllable_inference.fetch.archive import KINDS, unpack
from controllable_inference.fetch.checks import Kind
from controllable_inference.fetch.download import Listing, RemoteFile
from controllable_inference.fetch.place import Place

TOKEN_ENV, USER_ENV, PASSWORD_ENV = (
    "CONTROLLABLE_FETCH_TOKEN",
    "CONTROLLABLE_FETCH_USERNAME",
    "CONTROLLABLE_FETCH_PASSWORD",
)
_ACCESS = "check that the Secret in secretRef is there with a token, or with username and password"


class WebRemote:
    """One archive on a web server."""

    def __init__(self, uri: str, digest: str | None, kind: Kind, environ: Mapping[str, str]) -> None:
        parts = urlsplit(uri)
        if parts.username or parts.query:
            raise ModelNotFound(
                f"{parts.scheme}://{parts.hostname}{parts.path}: credentials don't belong into a URI, where "
                "all can read them; put them into a Secret and name it in secretRef"
            )
        if not parts.path.endswith(KINDS):
            raise ModelNotFound(f"{uri}: must name an archive of a folder ({', '.join(KINDS)})")
        if parts.scheme == "http" and digest is None:
            raise ModelNotFound(
                f"{uri}: what comes by http:// may be anybody's; take https://, or give a digest"
            )
        self._uri = uri
        self._client = http.client()
        if parts.scheme == "https":
            _authenticate(self._client, environ)
        self._kind = next(kind for kind in KINDS if parts.path.endswith(kind))
        self._digest = digest
        self._contents = kind
        self._validator: str | None = None

    def listing(self) -> Listing:
        with http.response(self._client, self._uri, self._uri, _ACCESS) as answer:
            headers = answer.headers
        self._validator = _validator(headers)
        length = headers.get("Content-Length")
        version = f"{self._validator or self._digest or 'of unknown version'}, {length or '?'} bytes"
        file = RemoteFile(f"archive{self._kind}", int(length) if length else None)
        return Listing(version, (file,))

    @contextmanager
    def read(self, file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        known = file.size is not None and (self._validator or self._digest)
        start = start if known else 0
        with http.response(self._client, self._uri, self._uri, _ACCESS, start, self._validator) as answer:
            if _validator(answer.headers) != self._validator:
                raise ModelFetchFailed(f"{self._uri}: was changed while it was read; the next try reads anew")
            yield http.begins_at(answer), answer.iter_raw()

    def finish(self, folder: Path, files: dict[str, Path], place: Place) -> None:
        (archive,) = files.values()
        unpack(archive, folder, self._uri, self._contents, place)
        archive.unlink()

    def digest(self, sha256_by_name: dict[str, str]) -> str:
        (sha256,) = sha256_by_name.values()
        return f"sha256:{sha256}"


def _validator(headers: httpx.Headers) -> str | None:
    """What names exactly these bytes, None where the server doesn't say. A weak ETag is no such promise."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag


def _authenticate(client: httpx.Client, environ: Mapping[str, str]) -> None:
    if token := environ.get(TOKEN_ENV):
        client.headers["Authorization"] = f"Bearer {token}"
    elif user := environ.get(USER_ENV):
        client.auth = httpx.BasicAuth(user, environ.get(PASSWORD_ENV, ""))
