"""The digest of a model: sha256 over what `sha256sum` prints of its files, in the order of their names.

    cd model && find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum

says the same of a folder with nothing but a model's files. Of an archive it is the archive's own sha256.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from controllable_inference.fetch.checks import model_files
from controllable_inference.fetch.meter import Meter, Progress
from controllable_inference.fetch.place import Fetched

_CHUNK = 1 << 20
_WORKERS = 4


def file_sha256(path: Path, meter: Meter | None = None) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if meter:
                meter.add(len(chunk))
    return digest.hexdigest()


def combined(sha256_by_name: Mapping[str, str]) -> str:
    """The digest of files by the sha256 of each."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(sha256_by_name.items(), key=_bytes))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def model_digest(folder: Path, progress: Progress) -> Fetched:
    """Digest and size of the model in a folder; every file is read."""
    files = model_files(folder)
    size = sum(path.stat().st_size for path in files.values())
    with Meter("reading", size, progress) as meter, ThreadPoolExecutor(_WORKERS) as pool:
        sums = pool.map(lambda path: file_sha256(path, meter), files.values())
        return Fetched(combined(dict(zip(files, sums, strict=True))), size)


def _bytes(item: tuple[str, str]) -> bytes:
    return item[0].encode()
