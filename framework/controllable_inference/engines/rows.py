"""Which requests run, which wait, and what their rows hold: the same for every engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

from controllable_inference.engines.path import Path, PathGroup


class Rows(ABC):
    """The rows of one engine: paths, and the trials beside them, with the memory that each holds.

    Requests are admitted first come, first served. When memory runs out, the youngest is preempted: it gives
    back all that it holds, keeps its tokens, and is the next to be admitted. One that is alone loses its
    lowest-scored path. Whatever is called here takes effect between two forward passes.

    max_requests: most that run at once. max_rows: most rows that are computed in one step.
    """

    def __init__(self, max_requests: int, max_rows: int) -> None:
        self.max_requests = max_requests
        self.max_rows = max_rows
        self.running: list[PathGroup] = []
        self.waiting: deque[PathGroup] = deque()

    @abstractmethod
    def start(self, path: Path) -> None:
        """Let a new path continue its request's prompt, which is computed."""

    @abstractmethod
    def start_trial(self, trial: Path) -> bool:
        """Compute a trial from now on; False, and nothing, where no row or no memory is free for it."""

    @abstractmethod
    def free(self, path: Path) -> None:
        """Stop computing a path or trial, and free what it alone holds."""

    @abstractmethod
    def _free_prompt(self, group: PathGroup) -> None:
        """Free what a request holds beside its paths."""

    @abstractmethod
    def _has_memory_for(self, group: PathGroup) -> bool:
        """Whether the next step of a request that is to be admitted fits beside those that run."""

    def _admitted(self, group: PathGroup) -> None:  # noqa: B027 - not every engine has something to do
        """A request has begun to run, or goes on after it was preempted."""

    @property
    def rows_held(self) -> int:
        """Rows of all that runs, and those that it may come to have."""
        return sum(group.rows for group in self.running)

    def admit(self, now: float) -> list[PathGroup]:
        """Move requests from the queue into the batch while there is room; returns those that are new."""
        fresh = []
        while self.waiting and self._fits(group := self.waiting[0]):
            self.waiting.popleft()
            self.running.append(group)
            self.running.sort(key=lambda g: g.id)
            self._admitted(group)
            if group.admitted_at is None:
                group.admitted_at = now
                fresh.append(group)
        return fresh

    def _fits(self, group: PathGroup) -> bool:
        if len(self.running) >= self.max_requests:
            return False
        if not self.running:
            return True  # submission made sure that one path of any request fits into empty memory
        return self.rows_held + group.rows <= self.max_rows and self._has_memory_for(group)

    def release(self, group: PathGroup) -> None:
        """Take a request out, wherever it is, and free all that it holds."""
        if group in self.running:
            self.running.remove(group)
        elif group in self.waiting:
            self.waiting.remove(group)
        for path in group.all_rows:
            self.free(path)
        self._free_prompt(group)

    def preempt(self, group: PathGroup) -> None:
        """Give back all that a request holds but its tokens; it is the next to be admitted."""
        self.release(group)
        group.prompt_computed = 0
        group.prompt_hidden.clear()
        for path in group.all_rows:
            path.computed = 0
        self.waiting.appendleft(group)

    def make_room(self) -> Path | None:
        """Free some memory; returns the path that has to end for it, if one has."""
        if len(self.running) > 1:
            self.preempt(self.running[-1])
            return None
        (group,) = self.running
        if group.trying:
            drop(group.trying[-1], self)
            return None
        path = _least_promising(group)
        # A last path has come as far as memory goes, which is its end; of several, one is pruned.
        alone = len(group.running_paths) == 1
        path.fate, path.reason = ("kept", "length") if alone else ("pruned", "memory")
        self.free(path)
        return path


def drop(trial: Path, rows: Rows) -> None:
    """End a trial, whether or not it has come to an answer."""
    trial.fate = trial.fate or "stopped"
    trial.group.trying.remove(trial)
    rows.free(trial)


def _least_promising(group: PathGroup) -> Path:
    """The path that a request can best do without: the lowest-scored, else the youngest."""
    paths = group.running_paths
    scored = [path for path in paths if path.score is not None] if len(paths) > 1 else []
    return min(scored, key=lambda path: (path.score, -path.index), default=paths[-1])
