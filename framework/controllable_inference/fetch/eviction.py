"""Room in a cache: models that nobody uses any more make place for the one that is wanted.

Whoever serves a model holds a shared lock on its marker for as long as its process lives, on whatever node
and also where it may not write. Who can get that lock for himself may remove the model.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARKER = ".source"
GRACE = 600.0
"""Seconds since the last fetch in which a model counts as used: its engine is about to start."""


def hold(model: Path) -> None:
    """Keep a downloaded model from being removed until this process, whatever it becomes, ends."""
    if (model / MARKER).is_file():
        descriptor = os.open(model / MARKER, os.O_RDONLY)
        os.set_inheritable(descriptor, True)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def used(model: Path) -> None:
    """Note that a model was fetched for somebody."""
    os.utime(model / MARKER)


def evict(beside: Path, needed: int) -> list[str]:
    """Remove what nobody uses in the folder of `beside`, the longest unused first, until there is room."""
    removed = []
    for folder, lock in sorted(_others(beside), key=lambda found: found[1].stat().st_mtime):
        if shutil.disk_usage(beside.parent).free >= needed:
            break
        with _locked(lock) as mine:
            if mine and time.time() - lock.stat().st_mtime > GRACE:
                shutil.rmtree(folder)
                removed.append(folder.name)
    return removed


def _others(beside: Path) -> Iterator[tuple[Path, Path]]:
    """Models and unfinished downloads there, each with the file that is locked by who uses it."""
    for marker in beside.parent.glob(f"[!.]*/{MARKER}"):
        if marker.parent != beside:
            yield marker.parent, marker
    for partial in beside.parent.glob(".*.partial"):
        lock = beside.with_name(f"{partial.name.rsplit('.', 2)[0]}.lock")
        if lock.name != f".{beside.name}.lock" and lock.exists():
            yield partial, lock


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    with path.open() as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
