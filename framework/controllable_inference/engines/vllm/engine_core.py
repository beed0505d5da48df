"""One step of vLLM, and what control makes of it. No threads, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from controllable_inference.core.features import TokenStatistics
from controllable_inference.engines.metrics import Metrics
from controllable_inference.engines.output_processor import OutputProcessor
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.vllm.model_runner import Drawn, StepOutput, VllmRunner
from controllable_inference.engines.vllm.rows import VllmRows
from controllable_inference.engines.vocabulary import Vocabulary


class VllmCore:
    """Must be used by one thread at a time. room, queue_timeout: as `OutputProcessor` has them."""

    def __init__(
        self,
        runner: VllmRunner,
        rows: VllmRows,
        vocabulary: Vocabulary,
        metrics: Metrics,
        clock: Callable[[], float],
        room: int,
        queue_timeout: float,
    ) -> None:
        self.runner = runner
        self.rows = rows
        self.metrics = metrics
        self.steps = 0
        self.outputs = OutputProcessor(
            rows, vocabulary, metrics, clock, room, queue_timeout, runner.hidden_size, runner.device
        )

    @property
    def blocks(self) -> tuple[int, int]:
        free = self.runner.free_blocks
        return self.runner.blocks - free, free

    def add(self, group: PathGroup) -> None:
        self.rows.waiting.append(group)

    @torch.inference_mode()
    def step(self) -> None:
        outputs, rows = self.outputs, self.rows
        began = outputs.clock()
        outputs.expire(began)
        outputs.admitted(rows.admit(began), began)
        for group in rows.without_plan():
            if group.traits.needs_prompt_hidden and self.runner.observes:
                rows.compute_prompt(group)
            else:
                self._plan(group, None)
        for path in rows.fit_next_step():
            assert path.fate is not None
            outputs.lifecycle.end_path(path, path.fate, path.reason)
        rows.update()
        if not rows.idle:
            planned, due = rows.take(self.runner.step())
            self._advance(due)
            for group, hidden in planned:
                self._plan(group, hidden)
        outputs.settle()
        self.steps += 1
        self.metrics.observe("controllable_engine_step_seconds", outputs.clock() - began)
        self.report_gauges()

    def report_gauges(self) -> None:
        self.outputs.report_gauges(*self.blocks)

    def _plan(self, group: PathGroup, hidden: torch.Tensor | None) -> None:
        if (plan := self.outputs.plan(group, hidden)) is not None:
            self.outputs.add_paths(group, plan.paths)
            group.starting.clear()

    def _advance(self, due: Sequence[tuple[Path, Drawn]]) -> None:
        """Take in the next token of each path: what it tells of the one before, then the token itself."""
        if not due:
            return
        hidden, statistics = StepOutput.gather([drawn for _, drawn in due], self.runner.hidden_size)
        sound = statistics.isfinite().all(dim=1).tolist()
        for (path, _), fine in zip(due, sound, strict=True):
            if not fine and self.outputs.lifecycle.is_here(path.group):
                self.outputs.fail_unsound(path.group)
        begun = [at for at, (path, _) in enumerate(due) if path.tokens and path.running]
        if begun:
            going_on = self.outputs.computed([due[at][0] for at in begun], hidden[begun])
            self._draw([begun[at] for at in going_on], due, statistics)
        fresh = [at for at, (path, _) in enumerate(due) if not path.tokens and path.running]
        self._draw(fresh, due, statistics)

    def _draw(self, at: Sequence[int], due: Sequence[tuple[Path, Drawn]], statistics: torch.Tensor) -> None:
        if at:
            columns = statistics[list(at)].float().unbind(dim=1)
            tokens = [due[index][1].token for index in at]
            self.outputs.drawn([due[index][0] for index in at], tokens, TokenStatistics(*columns))
