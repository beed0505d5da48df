"""Where a download goes: one at a time, whole or not at all, and never twice."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from controllable_inference.errors import ModelFetchFailed, ModelNotFound
from controllable_inference.fetch.checks import MODEL, Kind
from controllable_inference.fetch.eviction import MARKER, evict, used
from controllable_inference.fetch.meter import Progress, size

_POLL, _TELL = 0.5, 30.0


@dataclass(frozen=True)
class Fetched:
    """What is there now. Both are None where the files are only linked to, and nobody asked for a digest."""

    digest: str | None
    size: int | None


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    uri: str
    revision: str | None = None
    digest: str | None = None
    kind: Kind = MODEL

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.uri}@{self.revision}" if self.revision else self.uri

    def check(self, found: Fetched) -> None:
        """ModelNotFound where something else came than the digest says."""
        if self.digest is not None and self.digest != found.digest:
            raise ModelNotFound(
                f"{self.name}: its digest is {found.digest}, and {self.digest} was asked for; if the change "
                "is known and wanted, write the new digest, else ask who publishes it"
            )


class Place:
    """A folder that is to hold a model. Beside it lie a lock, and what an unfinished download has so far.

    make_room: whether what nobody uses in the folder around it may go where the disk is too small.
    """

    def __init__(self, folder: Path, make_room: bool = False) -> None:
        self.folder, self._make_room = folder, make_room

    def holds(self, wanted: Wanted) -> Fetched | None:
        """What is here, if it is what is wanted; None if not, or if nothing is here."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads((self.folder / MARKER).read_text())
            found = Fetched(told["digest"], told["size"])
            same = (told["uri"], told["revision"]) == (wanted.uri, wanted.revision)
            if same and wanted.digest in (None, found.digest):
                used(self.folder)
                return found
        return None

    @contextlib.contextmanager
    def locked(self, progress: Progress) -> Iterator[None]:
        """Alone at this place, also among pods that share a volume. Who dies lets go."""
        self._refuse_foreign()
        path = self.folder.with_name(f".{self.folder.name}.lock")
        with path.open("w") as lock:
            told = None
            while not _try_lock(lock.fileno()):
                if told is None or time.monotonic() - told > _TELL:
                    told = time.monotonic()
                    progress(f"another process downloads to {self.folder}; waiting for it")
                time.sleep(_POLL)
            yield

    def partial(self, version: str) -> Path:
        """The folder for an unfinished download of this version; what is there of others is removed."""
        mine = self.folder.with_name(f".{self.folder.name}.{version}.partial")
        for other in self.folder.parent.glob(f".{self.folder.name}.*.partial"):
            if other != mine:
                shutil.rmtree(other)
        mine.mkdir(exist_ok=True)
        return mine

    def check_room(self, needed: int, uri: str) -> None:
        """ModelFetchFailed where the disk has not so many bytes."""
        if self._make_room:
            evict(self.folder, needed)
        free = shutil.disk_usage(self.folder.parent).free
        if needed > free:
            raise ModelFetchFailed(
                f"{uri}: {size(needed)} are to be written, and the disk of {self.folder.parent} has "
                f"{size(free)} free; {NO_ROOM}"
            )

    def publish(self, partial: Path, wanted: Wanted, found: Fetched) -> None:
        """Let the finished download appear, in the place of what was there before."""
        facts = {"uri": wanted.uri, "revision": wanted.revision} | asdict(found)
        (partial / MARKER).write_text(json.dumps(facts))
        _flush(partial)
        if self.folder.is_symlink():
            self.folder.unlink()
        elif self.folder.exists():
            shutil.rmtree(self.folder)
        partial.rename(self.folder)

    def _refuse_foreign(self) -> None:
        if self.folder.is_dir() and not self.folder.is_symlink() and not (self.folder / MARKER).exists():
            raise ModelNotFound(f"{self.folder}: is a folder already; remove it or fetch to another place")


NO_ROOM = "raise spec.model.cache.size, or give the node more room where the model has no cache"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flush(folder: Path) -> None:
    """A node that loses its power must not find a whole model of empty files."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
