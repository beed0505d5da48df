"""Who computes in the next step: admission, prefill, decoding; and who is preempted when memory runs out."""

from __future__ import annotations

from dataclasses import dataclass, field

from controllable_inference.engines.native.block_manager import BlockManager
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.rows import Rows


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


class Scheduler(Rows):
    """A request's paths advance in lockstep, so that what a controller sees at a boundary, and with it the
    outcome, does not depend on the load; nor on memory, as a request that is preempted is computed again.
    """

    def __init__(self, blocks: BlockManager, max_requests: int, max_rows: int, max_tokens: int) -> None:
        assert max_rows <= max_tokens, "every row must fit into one step"
        super().__init__(max_requests, max_rows)
        self.blocks = blocks
        self.max_tokens = max_tokens

    def _admitted(self, group: PathGroup) -> None:
        self.blocks.extend(group.prompt_table, 0, len(group.prompt))

    def _has_memory_for(self, group: PathGroup) -> bool:
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
            if (path := self.make_room()) is not None:
                step.evicted.append(path)
        for table, (path, start, end) in zip(tables, spans, strict=True):
            if copy := self.blocks.extend(table, start, end):
                step.copies.append((group, path, copy))
        return True

    def start(self, path: Path) -> None:
        """Let a path continue the computed prompt by sharing its blocks."""
        path.table = self.blocks.fork(path.group.prompt_table)
        path.computed = len(path.group.prompt)

    def start_trial(self, trial: Path) -> bool:
        """Let a trial go on from its path, if there is a row, and memory for all that it may write."""
        needed = self.blocks.blocks_for(trial.cap - len(trial.tokens)) + 2
        if self.rows_held >= self.max_rows or needed > self.blocks.free:
            return False
        assert trial.trial_of is not None
        trial.table = self.blocks.fork(trial.trial_of.table)
        return True

    def free(self, path: Path) -> None:
        self.blocks.free_table(path.table)

    def _free_prompt(self, group: PathGroup) -> None:
        self.blocks.free_table(group.prompt_table)
