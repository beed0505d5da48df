"""OCI image layouts: made from a few files, and packed for `ctr images import`. No registry, no daemon.

Source: https://github.com/opencontainers/image-spec (image-layout.md, manifest.md, config.md).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_NAME = "io.containerd.image.name"  # the annotation from which containerd takes an imported image's name


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o644


def image_archive(
    reference: str,
    files: Mapping[str, File],
    entrypoint: Sequence[str],
    directories: Mapping[str, int] | None = None,
    links: Mapping[str, str] | None = None,
) -> bytes:
    """An archive with one image of one layer.

    `files`, `directories` (path → mode) and `links` (path → target) are relative to the image's root. The
    same arguments give the same bytes.
    """
    layer = _layer(files, directories or {}, links or {})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }
    config_bytes = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config_bytes, CONFIG),
        "layers": [descriptor(layer, LAYER)],
    }
    manifest_bytes = json.dumps(manifest).encode()
    return archive(
        index(descriptor(manifest_bytes, MANIFEST), reference), [layer, config_bytes, manifest_bytes]
    )


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def index(manifest: dict[str, Any], reference: str) -> dict[str, Any]:
    """The index of a layout that holds one manifest, under a name that containerd takes."""
    return {"schemaVersion": 2, "manifests": [{**manifest, "annotations": {IMAGE_NAME: reference}}]}


def archive(index_document: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add_file(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add_file(tar, "index.json", json.dumps(index_document).encode())
        for blob in blobs:
            add_file(tar, blob_path(digest(blob)), blob)
    return buffer.getvalue()


def blob_path(blob_digest: str) -> str:
    return f"blobs/{blob_digest.replace(':', '/')}"


def add_file(tar: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _layer(files: Mapping[str, File], directories: Mapping[str, int], links: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, mode in sorted(directories.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for path, file in sorted(files.items()):
            add_file(tar, path, file.content, file.mode)
        for path, target in sorted(links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
    return buffer.getvalue()
