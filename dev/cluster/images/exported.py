"""An exported image (`buildah push dir:…`): a folder with a manifest and a file for each blob.

Layers lie there uncompressed: nothing is gained by squeezing 1.4 GB to carry them across one machine.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dev.cluster.images.oci import MANIFEST, add_file, blob_path, descriptor, index


@dataclass(frozen=True)
class ExportedImage:
    folder: Path

    @property
    def exists(self) -> bool:
        return (self.folder / "manifest.json").exists()

    @property
    def size(self) -> int:
        """Bytes of the layers."""
        return sum(layer["size"] for layer in self._manifest()["layers"])

    def write_archive(self, reference: str, present: Set[str], into: IO[bytes]) -> None:
        """The image as an archive for `ctr images import`, without the blobs that the node has: `present`."""
        content = (self.folder / "manifest.json").read_bytes()
        described = descriptor(content, MANIFEST)
        manifest = self._manifest()
        lacking = {blob["digest"] for blob in (manifest["config"], *manifest["layers"])} - present
        with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            add_file(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            add_file(tar, "index.json", json.dumps(index(described, reference)).encode())
            # always sent: the index must not point to what the archive lacks
            add_file(tar, blob_path(described["digest"]), content)
            for digest in sorted(lacking):
                tar.add(self.folder / digest.removeprefix("sha256:"), arcname=blob_path(digest))

    def _manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "manifest.json").read_text()))
