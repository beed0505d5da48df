"""Models that are on this machine already."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from controllable_inference.errors import ModelNotFound
from controllable_inference.fetch.checks import MODEL, Kind, check_links
from controllable_inference.resources import resource

SOURCES_ROOT_ENV = "CONTROLLABLE_SOURCES_ROOT"
DOWNLOADED = ("hf", "s3", "https", "http")
_IN_IMAGE = "models"  # where images that are made for KServe have their model


def local_source(uri: str, environ: Mapping[str, str] = os.environ, kind: Kind = MODEL) -> Path:
    """The folder that a URI without a download names; ModelNotFound where the URI can't be one."""
    parts = urlsplit(uri)
    if ".." in Path(parts.path).parts:
        raise ModelNotFound(f"{uri}: '..' is not allowed in a model's URI")
    if parts.scheme == "image":
        if parts.netloc:
            raise ModelNotFound(f"{uri}: write image:///path, with three slashes")
        in_image = Path(parts.path)
        return in_image if in_image.is_dir() else resource(parts.path.strip("/")) or in_image
    if parts.scheme == "pvc":
        root = _root(uri, environ)
        return _inside(root / parts.path.lstrip("/"), root, uri)
    if parts.scheme == "oci":
        root = _root(uri, environ)
        if not root.is_dir() or not any(root.iterdir()):
            raise ModelNotFound(
                f"{uri}: nothing is mounted from the image; image volumes need Kubernetes 1.34 with the "
                "feature gate ImageVolume (on by default from 1.35), and containerd 2.1 or CRI-O 1.31"
            )
        models = root / _IN_IMAGE
        named = models if models.is_dir() and not (root / kind.config).exists() else root
        return _inside(named, root, uri)
    if parts.scheme == "":
        return Path(uri).absolute()
    if parts.scheme in DOWNLOADED:
        raise ModelNotFound(
            f"{uri}: is not on this machine; bring it here with `controllable-inference fetch {uri} --to "
            "FOLDER`, and name that folder"
        )
    raise ModelNotFound(
        f"{uri}: unknown scheme; known are hf://org/repo, s3://bucket/prefix, https://host/archive, "
        "pvc://claim/path, oci://image and image:///path"
    )


def link(source: Path, to: Path) -> None:
    """Make `to` a link to `source`, at once."""
    if to.is_dir() and not to.is_symlink():
        raise ModelNotFound(f"{to}: is a folder already; remove it or fetch to another place")
    staged = to.with_name(f".{to.name}.link")
    staged.unlink(missing_ok=True)
    staged.symlink_to(source)
    staged.replace(to)


def _root(uri: str, environ: Mapping[str, str]) -> Path:
    root = environ.get(SOURCES_ROOT_ENV)
    if not root:
        raise ModelNotFound(
            f"{uri}: {SOURCES_ROOT_ENV} is not set: it says where the claim or image is mounted"
        )
    return Path(root)


def _inside(folder: Path, root: Path, uri: str) -> Path:
    if folder.is_dir():
        check_links(folder, root, uri)
    return folder
