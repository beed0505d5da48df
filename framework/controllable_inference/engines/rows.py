"""What every engine offers to the code that follows its paths: the rows it computes, and what they hold."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from controllable_inference.engines.path import Path, PathGroup


class Rows(Protocol):
    """The rows of one engine: paths, and the trials beside them, with the memory that each holds.

    Whatever is called here takes effect between two forward passes. `running` and `waiting` hold every
    request that has not ended; one that is preempted goes from the former to the front of the latter.
    """

    max_rows: int
    running: list[PathGroup]
    waiting: deque[PathGroup]

    def start(self, path: Path) -> None:
        """Let a new path continue its request's prompt, which is computed."""

    def start_trial(self, trial: Path) -> bool:
        """Compute a trial from now on; False, and nothing, where no row or no memory is free for it."""

    def free(self, path: Path) -> None:
        """Stop computing a path or trial, and free what it alone holds."""

    def release(self, group: PathGroup) -> None:
        """Take a request out, wherever it is, and free all that it holds."""


def drop(trial: Path, rows: Rows) -> None:
    """End a trial, whether or not it has come to an answer."""
    trial.fate = trial.fate or "stopped"
    trial.group.trying.remove(trial)
    rows.free(trial)


def least_promising(group: PathGroup) -> Path:
    """The path that a request without memory can best do without: the lowest-scored, else the youngest."""
    paths = group.running_paths
    scored = [path for path in paths if path.score is not None] if len(paths) > 1 else []
    return min(scored, key=lambda path: (path.score, -path.index), default=paths[-1])
