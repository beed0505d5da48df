"""One step of the native engine: schedule, compute, draw. No threads, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from controllable_inference.engines.adapters.attached import Adapters
from controllable_inference.engines.metrics import Metrics
from controllable_inference.engines.native.batch import inputs_of, sampling_batch
from controllable_inference.engines.native.model_runner import ModelRunner
from controllable_inference.engines.native.sampler import sample
from controllable_inference.engines.native.scheduler import PrefillChunk, Schedule, Scheduler
from controllable_inference.engines.output_processor import OutputProcessor
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.vocabulary import Vocabulary


class NativeCore:
    """Ties scheduler, model, sampler and control together; must be used by one thread at a time.

    room: most positions of one path, its prompt included. queue_timeout: seconds.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        vocabulary: Vocabulary,
        metrics: Metrics,
        clock: Callable[[], float],
        room: int,
        queue_timeout: float,
        adapters: Adapters,
    ) -> None:
        self.runner = runner
        self.scheduler = scheduler
        self.metrics = metrics
        self.adapters = adapters
        self.steps = 0
        self.outputs = OutputProcessor(
            scheduler, vocabulary, metrics, clock, room, queue_timeout, runner.hidden_size, runner.device
        )
        self.lifecycle = self.outputs.lifecycle

    @property
    def groups(self) -> list[PathGroup]:
        return self.outputs.groups

    @property
    def blocks(self) -> tuple[int, int]:
        return self.scheduler.blocks.used, self.scheduler.blocks.free

    def add(self, group: PathGroup) -> None:
        self.scheduler.waiting.append(group)

    def step(self) -> None:
        began = self.outputs.clock()
        self.outputs.expire(began)
        self.outputs.admitted(self.scheduler.admit(began), began)
        step = self.scheduler.schedule()
        for path in step.evicted:
            assert path.fate is not None
            self.lifecycle.end_path(path, path.fate, path.reason)
        if step.decode or step.chunks:
            if self.adapters.have_weights:
                owners = [(p.group.adapter, 1) for p in step.decode]
                owners += [(chunk.group.adapter, len(chunk.tokens)) for chunk in step.chunks]
                self.adapters.select(owners, self.runner.device)
            inputs = inputs_of(step, self.runner.cache.block_size)
            batch, logits, hidden = self.runner.compute(inputs)
            self._fail_unsound(step, logits)
            rows = len(step.decode)
            self._decoded(step.decode, hidden[:rows], logits[:rows])
            for chunk, part, row in zip(step.chunks, batch.paged.chunks, logits[rows:], strict=True):
                self._chunk_computed(chunk, hidden[part.begin : part.end], row)
        self._start_paths()
        self.outputs.settle()
        self.steps += 1
        self.metrics.observe("controllable_engine_step_seconds", self.outputs.clock() - began)
        self.report_gauges()

    def report_gauges(self) -> None:
        self.outputs.report_gauges(*self.blocks)

    def _fail_unsound(self, step: Schedule, logits: Tensor) -> None:
        """End requests for which the model computed no numbers, and leave nothing of that in the cache.

        logits (wanted rows of the step, vocabulary). What is masked is read all the same, and not-a-number
        stays so however little it weighs: blocks that others get next must hold numbers.
        """
        sound = logits.amax(-1).isfinite()  # so are not: NaN anywhere in a row, +inf, nothing but -inf
        if sound.all():
            return
        owners = [*(p.group for p in step.decode), *(chunk.group for chunk in step.chunks)]
        unsound = [group for group, fine in zip(owners, sound.tolist(), strict=True) if not fine]
        for group in dict.fromkeys(unsound):
            tables = [group.prompt_table, *(path.table for path in group.all_rows)]
            self.runner.clear(sorted({block for table in tables for block in table}))
            self.outputs.fail_unsound(group)

    def _chunk_computed(self, chunk: PrefillChunk, hidden: Tensor, logits: Tensor) -> None:
        """hidden (tokens of the chunk, hidden size); logits (vocabulary,) behind its last token."""
        group = chunk.group
        if not self.lifecycle.is_here(group):
            return
        if chunk.path is not None:
            chunk.path.computed = chunk.end
            return
        group.prompt_computed = chunk.end
        if group.plan is None and group.traits.needs_prompt_hidden:
            group.prompt_hidden.append(hidden)
        if group.prompt_done and group.plan is None:
            self._plan(group)
        if group.prompt_done and group.plan is not None:  # not so if fast mode continues another prompt
            group.prompt_logits = logits.clone()
            for path in group.running_rows:  # it was preempted, and is computed again
                self.scheduler.start(path)
            if not group.paths:
                self.outputs.add_paths(group, group.plan.paths)

    def _plan(self, group: PathGroup) -> None:
        hidden = torch.cat(group.prompt_hidden) if group.prompt_hidden else None
        group.prompt_hidden.clear()
        computed = group.prompt
        if self.outputs.plan(group, hidden) is not None and group.prompt != computed:
            group.prompt_computed = min(_common_prefix(computed, group.prompt), len(group.prompt) - 1)
            self.scheduler.blocks.trim(group.prompt_table, group.prompt_computed)

    def _start_paths(self) -> None:
        """Draw the first tokens of new paths, from the logits of their prompts."""
        ready = [g for g in self.scheduler.running if g.starting and g.prompt_done]
        paths = [p for g in ready for p in g.starting if p.running]
        for group in ready:
            group.starting.clear()
        if paths:
            self._draw(paths, torch.stack([p.group.prompt_logits for p in paths]))  # type: ignore[misc]

    def _decoded(self, paths: Sequence[Path], hidden: Tensor, logits: Tensor) -> None:
        """hidden (paths, hidden size), logits (paths, vocabulary) at the newest token of each path."""
        sound = [at for at, path in enumerate(paths) if path.running]
        if not sound:
            return
        if len(sound) < len(paths):
            paths, hidden, logits = [paths[at] for at in sound], hidden[sound], logits[sound]
        going_on = self.outputs.computed(paths, hidden)
        if len(going_on) == len(paths):
            self._draw(paths, logits)
        elif going_on:
            self._draw([paths[at] for at in going_on], logits[going_on])

    def _draw(self, paths: Sequence[Path], logits: Tensor) -> None:
        logits = self.adapters.forbid_foreign(logits, [p.group.adapter for p in paths])
        tokens, statistics = sample(logits, sampling_batch(paths))
        self.outputs.drawn(paths, tokens.tolist(), statistics)


def _common_prefix(a: list[int], b: list[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
