"""Archives from strangers: only a model's files come out, under names that stay in the folder.

Nothing is left to the archive: no links, owners, modes or devices are made, whatever it says. What a model is
not made of (pickled weights, code) stays inside.
"""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from controllable_inference.errors import ModelNotFound
from controllable_inference.fetch.checks import Kind, check_names, safe_name
from controllable_inference.fetch.place import Place
from controllable_inference.model_files import is_wanted

KINDS = (".tar", ".tar.gz", ".tgz", ".zip")
MOST_TIMES = 100
"""How many times its own size an archive may unpack to: weights hardly shrink, JSON about ten times."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Member:
    """A file of an archive. entry: as its library has it."""

    name: str
    size: int
    is_link: bool
    entry: Any


def unpack(archive: Path, to: Path, uri: str, kind: Kind, place: Place) -> None:
    """Bring the model's files from `archive` to the folder `to`. Raises ModelNotFound, ModelFetchFailed."""
    with _opened(archive, uri) as (members, read):
        wanted = _of_the_model(members, uri, kind)
        size = sum(member.size for member in wanted.values())
        packed = archive.stat().st_size
        if size > MOST_TIMES * packed:
            raise ModelNotFound(
                f"{uri}: an archive of {packed} bytes that says to hold {size} is made to fill disks; refused"
            )
        place.check_room(size, uri)
        for name, member in wanted.items():
            path = to / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with read(member.entry) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK)
            if path.stat().st_size != member.size:
                raise ModelNotFound(f"{uri}: {member.name} is cut off; the archive is damaged")


def _of_the_model(members: list[_Member], uri: str, kind: Kind) -> dict[str, _Member]:
    """Members by their name in the model's folder, which is the archive's top or the one folder there."""
    by_name = {safe_name(member.name, uri): member for member in members}
    tops = {name.partition("/")[0] for name in by_name}
    if kind.config not in by_name and len(tops) == 1:
        start = len(tops.pop()) + 1
        by_name = {name[start:]: member for name, member in by_name.items()}
    check_names(by_name, uri, kind)
    wanted = {name: member for name, member in by_name.items() if is_wanted(name)}
    for name, member in wanted.items():
        if member.is_link:
            raise ModelNotFound(
                f"{uri}: {name} is a link, not a file; pack the file itself (tar --dereference)"
            )
    return wanted


@contextmanager
def _opened(archive: Path, uri: str) -> Iterator[Any]:
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                yield [_of_zip(info) for info in file.infolist() if not info.is_dir()], file.open
        else:
            with tarfile.open(archive, "r:*") as tar:
                members = [_of_tar(entry) for entry in tar if not entry.isdir()]
                yield members, lambda entry: _tar_stream(tar, entry)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ModelNotFound(f"{uri}: is no archive that can be unpacked: {error}") from error


def _of_zip(info: zipfile.ZipInfo) -> _Member:
    kind = info.external_attr >> 28  # of the Unix mode, where there is one: 8 is a plain file
    return _Member(info.filename, info.file_size, kind not in (0, 8), info)


def _of_tar(entry: tarfile.TarInfo) -> _Member:
    return _Member(entry.name.removeprefix("./"), entry.size, not entry.isreg(), entry)


def _tar_stream(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(entry)
    assert stream is not None, "links were refused before"
    return stream
