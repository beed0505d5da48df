"""hf://org/repo: a repository of the Hugging Face Hub.

The Hub's client tells what there is; the files are read over plain HTTP, as its own download begins every
file anew after it was killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers

from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch import http
from controllable_inference.fetch.checks import Kind, check_names, safe_name
from controllable_inference.fetch.digest import combined
from controllable_inference.fetch.download import Listing, RemoteFile, Transient
from controllable_inference.fetch.place import Place
from controllable_inference.model_files import is_wanted

_TOKEN = "give a token that may read it: a Secret with the key token in secretRef, or HF_TOKEN"  # noqa: S105


class HubRemote:
    """A revision of a repository; once listed, the commit that the revision stood for."""

    def __init__(self, uri: str, revision: str | None, kind: Kind) -> None:
        parts = urlsplit(uri)
        self._uri, self._repo, self._revision = uri, f"{parts.netloc}{parts.path}".strip("/"), revision
        self._kind = kind
        self._commit: str | None = None
        self._client = http.client(build_hf_headers())

    def listing(self) -> Listing:
        name = f"{self._uri}@{self._revision}" if self._revision else self._uri
        try:
            info = HfApi().model_info(self._repo, revision=self._revision, files_metadata=True)
        except GatedRepoError as error:
            raise ModelNotFound(f"{name}: gated; accept its terms on the hub, and {_TOKEN}") from error
        except RevisionNotFoundError as error:
            raise ModelNotFound(f"{name}: the repository has no such revision") from error
        except RepositoryNotFoundError as error:
            raise ModelNotFound(f"{name}: no such repository, or it is private: {_TOKEN}") from error
        except HFValidationError as error:
            raise ModelNotFound(f"{name}: {error}; write hf://organisation/repository") from error
        except OfflineModeIsEnabled as error:
            raise ModelFetchFailed(f"{name}: HF_HUB_OFFLINE is set; unset it, or use another uri") from error
        except HfHubHTTPError as error:
            http.check_status(error.response.status_code, name, _TOKEN)
            raise Transient(str(error)) from error
        except Exception as error:  # the client of the Hub's client has errors of its own, by another name
            raise Transient(http.why(error, hf_hub_url(self._repo, "config.json"))) from error
        siblings = info.siblings or []
        check_names([file.rfilename for file in siblings], name, self._kind)
        self._commit = info.sha or self._revision
        files = (
            RemoteFile(
                safe_name(file.rfilename, name),
                file.size,
                file.lfs.sha256 if file.lfs else None,
                file.rfilename,
            )
            for file in siblings
            if is_wanted(file.rfilename)
        )
        return Listing(f"commit {self._commit}", tuple(files))

    @contextmanager
    def read(self, file: RemoteFile, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        url = hf_hub_url(self._repo, file.key, revision=self._commit)
        with http.response(self._client, url, f"{self._uri}: {file.name}", _TOKEN, start) as answer:
            yield http.begins_at(answer), answer.iter_raw()

    def finish(self, folder: Path, files: dict[str, Path], place: Place) -> None:
        """They are a model already."""

    def digest(self, sha256_by_name: dict[str, str]) -> str:
        return combined(sha256_by_name)
