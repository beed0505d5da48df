"""Downloads that go on where they stopped, try again when it may help, and say why when it doesn't."""

import errno
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from controllable_inference.errors import ModelFetchFailed
from controllable_inference.fetch.checks import check_folder
from controllable_inference.fetch.digest import file_sha256
from controllable_inference.fetch.meter import Meter, Progress
from controllable_inference.fetch.place import NO_ROOM, Fetched, Place, Wanted

T = TypeVar("T")

WORKERS = 4
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between tries that bring nothing at all. Whatever brings something starts them anew."""


class Transient(Exception):
    """What trying again may mend; the message is for people."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a source. name: its path in the model's folder. size, sha256: None if not known before."""

    name: str
    size: int | None
    sha256: str | None = None
    key: str = ""


@dataclass(frozen=True)
class Listing:
    """What a source has now. version: names exactly this; another one is another download."""

    version: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files, None if that isn't known."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if None not in sizes else None


class Remote(Protocol):
    """A source of files. Both methods raise Transient, ModelNotFound or ModelFetchFailed."""

    def listing(self) -> Listing:
        """What there is; one with nothing but pickled weights is refused here."""

    def read(self, file: RemoteFile, start: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """The bytes from `start` on, and where they really begin: 0 where the server knows no ranges."""

    def finish(self, folder: Path, files: dict[str, Path], place: Place) -> None:
        """Make a model of the files that were downloaded to `folder`, if they are none yet."""

    def digest(self, sha256_by_name: dict[str, str]) -> str:
        """The digest of what was downloaded."""


def bring(remote: Remote, wanted: Wanted, place: Place, progress: Progress) -> Fetched:
    """Make `place` hold what is wanted. Raises ModelNotFound, ModelFetchFailed."""
    if found := place.holds(wanted):
        progress(f"{wanted.name} is already in {place.folder} ({found.digest})")
        return found
    try:
        with place.locked(progress):
            found = place.holds(wanted) or _download(remote, wanted, place, progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelFetchFailed(f"{wanted.name}: the disk of {place.folder} is full; {NO_ROOM}") from error
        raise ModelFetchFailed(f"{wanted.name}: {place.folder} can't be written: {error}") from error
    progress(f"{wanted.name} is in {place.folder}, its digest is {found.digest}")
    return found


def _download(remote: Remote, wanted: Wanted, place: Place, progress: Progress) -> Fetched:
    listing = _patiently(remote.listing, wanted, progress)
    folder = place.partial(hashlib.sha256(listing.version.encode()).hexdigest()[:16])
    paths = {file.name: folder / file.name for file in listing.files}
    here = sum(path.stat().st_size for path in paths.values() if path.exists())
    place.check_room((listing.size or 0) - here, wanted.name)
    progress(f"downloading {wanted.name} ({listing.version})" + (", going on with it" if here else ""))
    with Meter(wanted.name, listing.size, progress, done=here) as meter:
        fetching = [_File(remote, file, paths[file.name], wanted, meter, progress) for file in listing.files]
        sums = _all(fetching)
    found = Fetched(remote.digest(dict(zip(paths, sums, strict=True))), None)
    try:
        wanted.check(found)
    except Exception:
        _remove(paths)  # to go on with the wrong bytes would bring them again
        raise
    remote.finish(folder, paths, place)
    check_folder(folder, wanted.name, wanted.kind)
    found = replace(found, size=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()))
    place.publish(folder, wanted, found)
    return found


def _all(fetching: "list[_File]") -> list[str]:
    """sha256 of each file, downloaded a few at a time; the first failure ends them all."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(file.fetch) for file in fetching]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for file in fetching:
                file.stop()
            pool.shutdown(cancel_futures=True)
            raise


class _File:
    """One file on its way."""

    def __init__(
        self, remote: Remote, file: RemoteFile, path: Path, wanted: Wanted, meter: Meter, progress: Progress
    ) -> None:
        self._remote, self._file, self._path = remote, file, path
        self._wanted, self._meter, self._progress = wanted, meter, progress
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End soon, with whatever there is."""
        self._stopped.set()

    def fetch(self) -> str:
        """Bring the rest of the file, and return its sha256."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        size = self._file.size
        if size is None or self._path.stat().st_size != size:
            _patiently(self._bring, self._wanted, self._progress, lambda: self._path.stat().st_size)
        sha256 = file_sha256(self._path)
        if self._file.sha256 not in (None, sha256):
            self._path.unlink()
            raise ModelFetchFailed(
                f"{self._wanted.name}: {self._file.name} arrived damaged: its sha256 is {sha256}, and the "
                f"source says {self._file.sha256}; it is downloaded anew by the next try"
            )
        return sha256

    def _bring(self) -> None:
        have = self._path.stat().st_size
        with self._path.open("r+b") as out, self._remote.read(self._file, have) as (start, chunks):
            out.seek(start)
            out.truncate()
            self._meter.add(start - have)
            for chunk in chunks:
                if self._stopped.is_set():
                    return
                out.write(chunk)
                self._meter.add(len(chunk))
            size = out.tell()
        if self._file.size is not None and size != self._file.size:
            raise Transient(f"{self._file.name} broke off after {size} of {self._file.size} bytes")


def _patiently(
    action: Callable[[], T], wanted: Wanted, progress: Progress, reached: Callable[[], int] = lambda: 0
) -> T:
    """Do it, again after a pause where that may help, for as long as `reached` grows and a little longer."""
    failures, best = 0, reached()
    while True:
        try:
            return action()
        except Transient as error:
            failures = 0 if reached() > best else failures
            best = max(best, reached())
            if failures == len(PAUSES):
                raise ModelFetchFailed(
                    f"{wanted.name}: {error}; tried {failures + 1} times, the next try goes on from here"
                ) from error
            progress(f"{wanted.name}: {error}; again in {PAUSES[failures]:.0f} s")
            time.sleep(PAUSES[failures])
            failures += 1


def _remove(paths: dict[str, Path]) -> None:
    for path in paths.values():
        path.unlink(missing_ok=True)
