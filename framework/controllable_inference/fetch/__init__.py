"""Brings the files of a model, or of an adapter, to a folder, whatever the URI.

Only safetensors: pickled weights run code when they are read.

| URI | what happens |
|---|---|
| `hf://org/repo` | download of a revision from the Hugging Face Hub (HF_TOKEN, HF_ENDPOINT are honoured) |
| `s3://bucket/prefix` | download of the objects under a prefix (AWS_* are honoured) |
| `https://host/model.tar.gz` | download of an archive (.tar, .tar.gz, .tgz, .zip), unpacked with care |
| `pvc://claim/path` | link to `path` under CONTROLLABLE_SOURCES_ROOT, where the claim is mounted |
| `oci://registry/image:tag` | link to the image's root, or its /models, under CONTROLLABLE_SOURCES_ROOT |
| `image:///models/nano` | link to that folder of this image; elsewhere to the shipped `models/nano` |
| a plain path | link to it |
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from controllable_inference.errors import ModelNotFound
from controllable_inference.fetch.checks import ADAPTER, MODEL, Kind, check_folder
from controllable_inference.fetch.digest import model_digest
from controllable_inference.fetch.download import Progress, Remote, bring
from controllable_inference.fetch.local import DOWNLOADED, link, local_source
from controllable_inference.fetch.place import Fetched, Place, Wanted

__all__ = [
    "ADAPTER",
    "MODEL",
    "Fetched",
    "Progress",
    "check_folder",
    "fetch",
    "is_downloaded",
    "local_source",
]


def is_downloaded(uri: str) -> bool:
    """Whether a URI names something that is elsewhere."""
    return urlsplit(uri).scheme in DOWNLOADED


def fetch(
    uri: str,
    to: Path,
    revision: str | None = None,
    digest: str | None = None,
    make_room: bool = False,
    kind: Kind = MODEL,
    environ: Mapping[str, str] = os.environ,
    progress: Progress = print,
) -> Fetched:
    """Make `to` the model that `uri` names: a link where the files are already here, else a download.

    Safe to repeat, to interrupt, and to run twice at once: `to` appears whole or not at all, one of several
    downloads while the others wait, and a download goes on where an earlier one stopped. What `to` holds of
    the same uri, revision and digest already is taken as it is, without asking the source.

    digest: `sha256:…` that must come out; what it is taken of is told in `digest.py`. make_room: the folder
    around `to` is a cache, where models that no engine holds may go for this one. kind: what must be there.

    Raises ModelNotFound where somebody has to act, ModelFetchFailed where it may help to try again; the
    message says what was wrong, with which URI, and what to do.
    """
    to = Path(os.path.abspath(to))  # noqa: PTH100 - `resolve` would follow a link left by an earlier fetch
    to.parent.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(uri, revision, digest, kind)
    if is_downloaded(uri):
        return bring(_remote(wanted, environ), wanted, Place(to, make_room), progress)
    source = local_source(uri, environ, kind)
    check_folder(source, uri, kind)
    found = Fetched(None, None)
    if digest is not None:
        found = model_digest(source, progress)
        wanted.check(found)
    link(source, to)
    progress(f"{uri} is in {source}")
    return found


def _remote(wanted: Wanted, environ: Mapping[str, str]) -> Remote:
    # Each brings a client library of its own, which the others needn't wait for.
    scheme = urlsplit(wanted.uri).scheme
    if scheme == "hf":
        from controllable_inference.fetch.hub import HubRemote

        return HubRemote(wanted.uri, wanted.revision, wanted.kind)
    if wanted.revision is not None:
        raise ModelNotFound(f"{wanted.uri}: only hf:// has revisions, not {scheme}://")
    if scheme == "s3":
        from controllable_inference.fetch.s3 import S3Remote

        return S3Remote(wanted.uri, wanted.kind, environ)
    from controllable_inference.fetch.web import WebRemote

    return WebRemote(wanted.uri, wanted.digest, wanted.kind, environ)
