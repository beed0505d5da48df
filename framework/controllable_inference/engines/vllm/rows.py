"""Which requests run on vLLM, which wait, and which rows of vLLM are theirs.

vLLM is told by difference, before each step: a path or trial that is to be computed and has no row gets one,
and one that something was written into gets another in its row's place, whose prompt is all its tokens so
far. Most of that is cached, so that only what is new is computed.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.path_key import path_key
from controllable_inference.engines.rows import Rows
from controllable_inference.engines.vllm.model_runner import Draw, Drawn, StepOutput, VllmRunner

SEEDS = 2**63 - 1
"""Largest seed that vLLM takes."""


@dataclass(eq=False)
class Row:
    """What vLLM computes for a path. written: the path's own mark when the row began.

    drawn: tokens that the path has not taken up yet, the oldest first.
    """

    name: str
    written: int
    drawn: deque[Drawn] = field(default_factory=deque)


@dataclass(eq=False)
class PromptRow:
    """What computes a request's prompt for its plan. hidden: the pieces so far."""

    name: str
    hidden: list[Tensor] = field(default_factory=list)


class VllmRows(Rows):
    def __init__(self, runner: VllmRunner, max_requests: int, max_rows: int) -> None:
        super().__init__(max_requests, max_rows)
        self.runner = runner
        self._rows: dict[Path, Row] = {}
        self._prompts: dict[PathGroup, PromptRow] = {}
        self._names = map(str, itertools.count())

    # what paths' life asks for

    def start(self, path: Path) -> None:
        path.computed = len(path.group.prompt)

    def start_trial(self, trial: Path) -> bool:
        fits = len(trial.group.prompt) + trial.cap <= self.runner.context
        return (
            fits and self.rows_held < self.max_rows and self._blocks(trial.cap) + 2 <= self.runner.free_blocks
        )

    def free(self, path: Path) -> None:
        if (row := self._rows.pop(path, None)) is not None:
            self.runner.abort(row.name)

    def _free_prompt(self, group: PathGroup) -> None:
        if (prompt := self._prompts.pop(group, None)) is not None:
            self.runner.abort(prompt.name)

    def _has_memory_for(self, group: PathGroup) -> bool:
        return self._needed([*self.running, group]) <= self.runner.free_blocks

    # between two steps

    def without_plan(self) -> list[PathGroup]:
        """Running requests that have none, and whose prompt is not being computed for one."""
        return [group for group in self.running if group.plan is None and group not in self._prompts]

    def compute_prompt(self, group: PathGroup) -> None:
        """Have its prompt computed as a whole, for the hidden states."""
        row = self._prompts[group] = PromptRow(next(self._names))
        self.runner.add(row.name, group.prompt, Draw(0.0, 1.0, 0, 1, None), "prompt", _lora(group))

    def fit_next_step(self) -> list[Path]:
        """Make room until the next step has the blocks it may take; returns paths that had to end for it."""
        ended = []
        while any(group.running_rows for group in self.running) and self._needed() > self.runner.free_blocks:
            ended.append(self.make_room())
        return [path for path in ended if path is not None]

    def update(self) -> None:
        """Tell vLLM what to compute in the next step."""
        for group in self.running:
            for path in group.running_rows:
                row = self._rows.get(path)
                if row is None or row.written != path.written:
                    self.free(path)
                    self._add(path)

    def take(self, step: StepOutput) -> tuple[list[tuple[PathGroup, Tensor]], list[tuple[Path, Drawn]]]:
        """Take in a step: (prompts that are computed to their end, paths and trials with their next token).

        A request's rows advance side by side: where one is behind the others, for it waits or is computed in
        pieces, they wait for it. What a controller sees does not depend on the load, then.
        """
        for row in self._rows.values():
            if (drawn := step.drawn.get(row.name)) is not None:
                row.drawn.append(drawn)
        planned = []
        for group, prompt in list(self._prompts.items()):
            if (piece := step.prompts.get(prompt.name)) is not None:
                prompt.hidden.append(piece)
            if prompt.name in step.drawn:
                del self._prompts[group]
                planned.append((group, torch.cat(prompt.hidden)))
        due: list[tuple[Path, Drawn]] = []
        for group in self.running:
            rows = [(path, self._rows[path]) for path in group.running_rows if path in self._rows]
            if rows and len(rows) == len(group.running_rows) and all(row.drawn for _, row in rows):
                due += [(path, row.drawn.popleft()) for path, row in rows]
        return planned, due

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self._rows and not self._prompts

    def _add(self, path: Path) -> None:
        group, trial = path.group, path.trial_of is not None
        sampling = group.sampling
        seed = path_key(path.key, len(path.tokens)) & SEEDS  # a row's random numbers begin anew with it
        most = path.cap - len(path.tokens)
        if trial:
            draw = Draw(0.0, 1.0, 0, most, None)
        else:
            draw = Draw(sampling.temperature or 0.0, sampling.top_p or 1.0, sampling.top_k or 0, most, seed)
        observe = "rows" if group.traits.needs_features and not trial else ""
        row = self._rows[path] = Row(next(self._names), path.written)
        path.computed = len(group.prompt) + max(0, len(path.tokens) - 1)
        self.runner.add(row.name, group.prompt + path.tokens, draw, observe, _lora(group))

    def _needed(self, groups: Iterable[PathGroup] | None = None) -> int:
        """Blocks that the next step may take: one for each row that goes on, all for what begins."""
        needed = 0
        for group in self.running if groups is None else groups:
            begun = group in self._prompts or any(path in self._rows for path in group.paths)
            if not begun:
                needed += self._blocks(len(group.prompt)) + group.rows
            for path in group.running_rows:
                own = len(path.tokens) + len(group.prompt) % self.runner.block_size
                needed += 1 if path in self._rows else self._blocks(own)
        return needed

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.runner.block_size)


def _lora(group: PathGroup) -> object | None:
    """The weights of its adapter, as vLLM is told of them."""
    return getattr(group.adapter, "lora", None)
