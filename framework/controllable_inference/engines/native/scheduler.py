"""Who computes in the next step: admission, prefill, decoding; and who is preempted when memory runs out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from controllable_inference.engines.native.block_manager import BlockManager
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.rows import drop, least_promising


@dataclass
class PrefillChunk:
    """Positions [start, end) of a prompt (path None), or of a path computed again after preemption."""

    group: PathGroup
    path: Path | None
    start: int
    end: int

    @property
    def table(self) -> list[int]:
        return self.group.prompt_table if self.path is None else self.path.table

    @property
    def tokens(self) -> list[int]:
        if self.path is None:
            return self.group.prompt[self.start : self.end]
        offset = len(self.group.prompt)
        return self.path.tokens[self.start - offset : self.end - offset]


@dataclass
class Schedule:
    """decode: paths that compute their newest token. copies: blocks to copy before, by who needs them.

    evicted: paths that had to end for want of memory.
    """

    decode: list[Path] = field(default_factory=list)
    chunks: list[PrefillChunk] = field(default_factory=list)
    copies: list[tuple[PathGroup, Path | None, tuple[int, int]]] = field(default_factory=list)
    evicted: list[Path] = field(default_factory=list)


class Scheduler:
    """First come, first served.

    A request's paths advance in lockstep, so that what a controller sees at a boundary, and with it the
    outcome, does not depend on the load. Nor does it on memory: when blocks run out, the youngest request is
    preempted and computed again later. A request that needs more than there is although it is alone loses its
    lowest-scored path.
    """

    def __init__(self, blocks: BlockManager, max_requests: int, max_rows: int, max_tokens: int) -> None:
        assert max_rows <= max_tokens, "every row must fit into one step"
        self.blocks = blocks
        self.max_requests = max_requests
        self.max_rows = max_rows
        self.max_tokens = max_tokens
        self.waiting: deque[PathGroup] = deque()
        self.running: list[PathGroup] = []

    def admit(self, now: float) -> list[PathGroup]:
        """Move requests from the queue into the batch while there is room; returns those that are new."""
        fresh = []
        while self.waiting and self._fits(group := self.waiting[0]):
            self.waiting.popleft()
            self.running.append(group)
            self.running.sort(key=lambda g: g.id)
            self.blocks.extend(group.prompt_table, 0, len(group.prompt))
            if group.admitted_at is None:
                group.admitted_at = now
                fresh.append(group)
        return fresh

    def _fits(self, group: PathGroup) -> bool:
        if len(self.running) >= self.max_requests:
            return False
        if not self.running:
            return True  # submission made sure that one path of any request fits into an empty cache
        if sum(g.rows for g in self.running) + group.rows > self.max_rows:
            return False
        tails = sum(self.blocks.blocks_for(len(p.tokens)) for p in group.running_rows)
        return self.blocks.blocks_for(len(group.prompt)) + tails + group.rows <= self.blocks.free

    def schedule(self) -> Schedule:
        step = Schedule()
        tokens = self.max_tokens
        for group in list(self.running):
            paths = self._decoding(group)
            if paths and self._reserve(group, [(p, p.computed, p.computed + 1) for p in paths], step):
                step.decode += (paths := self._decoding(group))
                tokens -= len(paths)
        for group in list(self.running):
            for path, start, end in self._prefilling(group):
                end = min(end, start + tokens)
                if start < end and self._reserve(group, [(path, start, end)], step):
                    step.chunks.append(PrefillChunk(group, path, start, end))
                    tokens -= end - start
        # what was scheduled first may have had to give way to what came later
        step.decode = [p for p in step.decode if p.running and p.group in self.running]
        step.chunks = [c for c in step.chunks if self._still_here(c.group, c.path)]
        step.copies = [c for c in step.copies if self._still_here(c[0], c[1])]
        return step

    def _still_here(self, group: PathGroup, path: Path | None) -> bool:
        return group in self.running and (path is None or path.running)

    def _decoding(self, group: PathGroup) -> list[Path]:
        if group not in self.running or not group.prompt_done:
            return []
        paths = [p for p in group.running_rows if p.tokens]
        return paths if all(p.caught_up for p in paths) else []

    def _prefilling(self, group: PathGroup) -> list[tuple[Path | None, int, int]]:
        if group not in self.running:
            return []
        if not group.prompt_done:
            return [(None, group.prompt_computed, len(group.prompt))]
        ends = ((p, len(group.prompt) + len(p.tokens) - 1) for p in group.running_rows if p.tokens)
        return [(p, p.computed, end) for p, end in ends if p.computed < end]

    def _reserve(self, group: PathGroup, spans: list[tuple[Path | None, int, int]], step: Schedule) -> bool:
        """Make the spans writable, or say that the group must sit out this step."""
        while True:
            spans = [s for s in spans if self._still_here(group, s[0])]
            tables = [group.prompt_table if path is None else path.table for path, _, _ in spans]
            needed = sum(
                self.blocks.needs(t, start, end) for t, (_, start, end) in zip(tables, spans, strict=True)
            )
            if not spans:
                return False
            if needed <= self.blocks.free:
                break
            self._make_room(step)
        for table, (path, start, end) in zip(tables, spans, strict=True):
            if copy := self.blocks.extend(table, start, end):
                step.copies.append((group, path, copy))
        return True

    def _make_room(self, step: Schedule) -> None:
        if len(self.running) > 1:
            self.preempt(self.running[-1])
            return
        if self.running[0].trying:
            drop(self.running[0].trying[-1], self)
            return
        self._evict(least_promising(self.running[0]), step)

    def _evict(self, path: Path, step: Schedule) -> None:
        """A last path has come as far as memory goes, which is its end; of several, one is pruned."""
        alone = len(path.group.running_paths) == 1
        path.fate, path.reason = ("kept", "length") if alone else ("pruned", "memory")
        self.blocks.free_table(path.table)
        step.evicted.append(path)

    def preempt(self, group: PathGroup) -> None:
        """Give back all its blocks; tokens and statistics stay, and it is the next to be admitted."""
        self.release(group)
        group.prompt_computed = 0
        group.prompt_hidden.clear()
        for path in group.all_rows:
            path.computed = 0
        self.waiting.appendleft(group)

    def release(self, group: PathGroup) -> None:
        """Take a group out, wherever it is, and free its blocks."""
        if group in self.running:
            self.running.remove(group)
        elif group in self.waiting:
            self.waiting.remove(group)
        for path in group.all_rows:
            self.blocks.free_table(path.table)
        self.blocks.free_table(group.prompt_table)

    def start(self, path: Path) -> None:
        """Let a path continue the computed prompt by sharing its blocks."""
        path.table = self.blocks.fork(path.group.prompt_table)
        path.computed = len(path.group.prompt)

    def start_trial(self, trial: Path) -> bool:
        """Let a trial go on from its path, if there is a row, and memory for all that it may write."""
        rows = sum(group.rows for group in self.running)
        needed = self.blocks.blocks_for(trial.cap - len(trial.tokens)) + 2
        if rows >= self.max_rows or needed > self.blocks.free:
            return False
        assert trial.trial_of is not None
        trial.table = self.blocks.fork(trial.trial_of.table)
        return True

    def free(self, path: Path) -> None:
        self.blocks.free_table(path.table)
