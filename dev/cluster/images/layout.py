"""An OCI layout on disk as a store of images: what it holds, and what of it a node lacks."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dev.cluster.images.oci import add_file, blob_path, index

REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Layout:
    folder: Path

    def tags(self) -> set[str]:
        return {m.get("annotations", {}).get(REF_NAME, "") for m in self._manifests()}

    def size(self, tag: str) -> int:
        """Bytes of an image's layers."""
        return sum(layer["size"] for layer in self._read(self._descriptor(tag))["layers"])

    def write_archive(self, tag: str, reference: str, present: Set[str], into: IO[bytes]) -> None:
        """An archive of one image for `ctr images import`, without the blobs that the node has: `present`."""
        descriptor = self._descriptor(tag)
        manifest = self._read(descriptor)
        # the manifest itself is always sent: the index must not point to what the archive lacks
        blobs = [
            descriptor,
            *(b for b in (manifest["config"], *manifest["layers"]) if b["digest"] not in present),
        ]
        bare = {key: descriptor[key] for key in ("mediaType", "digest", "size")}
        with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            add_file(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            add_file(tar, "index.json", json.dumps(index(bare, reference)).encode())
            for digest in {blob["digest"]: None for blob in blobs}:
                tar.add(self._blob(digest), arcname=blob_path(digest))

    def keep_only(self, tag: str) -> None:
        """Forget the other images and remove the blobs that only they have."""
        descriptor = self._descriptor(tag)
        manifest = self._read(descriptor)
        kept = {blob["digest"] for blob in (descriptor, manifest["config"], *manifest["layers"])}
        document = json.loads((self.folder / "index.json").read_text())
        (self.folder / "index.json").write_text(json.dumps({**document, "manifests": [descriptor]}))
        for blob in (self.folder / "blobs" / "sha256").iterdir():
            if f"sha256:{blob.name}" not in kept:
                blob.unlink()

    def _manifests(self) -> list[dict[str, Any]]:
        try:
            return list(json.loads((self.folder / "index.json").read_text())["manifests"])
        except FileNotFoundError:
            return []

    def _descriptor(self, tag: str) -> dict[str, Any]:
        return next(m for m in self._manifests() if m.get("annotations", {}).get(REF_NAME) == tag)

    def _read(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads(self._blob(descriptor["digest"]).read_text()))

    def _blob(self, digest: str) -> Path:
        return self.folder / blob_path(digest)
