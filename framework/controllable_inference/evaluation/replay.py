"""What a controller would have done with recorded paths.

Controllers are pure, so a recording and a controller give the outcome without running the model. Only a
replay knows how a pruned path would have ended, and so only a replay can tell the recall of pruning.
Differs from the engine in one point: relative features are those of the unpruned recording.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from controllable_inference.control.answer import normalise
from controllable_inference.control.controller import Controller
from controllable_inference.control.features import STATISTICS
from controllable_inference.control.views import PathView, PromptView, Prune, RequestView, Stop
from controllable_inference.engine.request import RequestBudget, SamplingParams
from controllable_inference.evaluation.records import PathRecord, ProblemRecord


@dataclass(frozen=True)
class Replayed:
    """One problem under one controller. kept_right of all_right: started paths that would have ended right,
    and how many of them were not pruned.
    """

    right: bool
    tokens: int
    coefficient: float
    started: int
    pruned: int
    stopped: int
    all_right: int
    kept_right: int
    fast: bool


@dataclass
class _Running:
    record: PathRecord
    tokens_due: int
    answer: str | None
    ends: list[int]
    scores: list[float] | None
    statistics: list[tuple[float, ...]]
    state: Literal["running", "kept", "pruned", "stopped"] = "running"
    tokens: int = 0
    steps: int = 0
    score: float | None = None
    at_boundary: bool = False

    def view(self, index: int) -> PathView:
        key = normalise(self.answer) if self.answer is not None and self.state == "kept" else None
        answer = self.answer if self.state == "kept" else None
        return PathView(
            index,
            self.state,
            self.tokens,
            self.steps,
            self.score,
            self.at_boundary,
            answer,
            key,
            scores=() if self.scores is None else tuple(self.scores[: self.steps]),
            statistics=self.statistics[self.steps - 1] if self.statistics and self.steps else None,
        )


def replay(record: ProblemRecord, controller: Controller, budget: RequestBudget | None = None) -> Replayed:
    """Run one recorded problem under `controller`, one token of every path at a time, as the engine does."""
    prompt = PromptView(
        tokens=len(record.prompt_hidden),
        hidden=record.prompt_hidden if controller.needs_prompt_hidden else None,
        room=1 << 20,
        sampling=SamplingParams(),
        budget=budget or RequestBudget(),
    )
    plan = controller.plan(prompt)
    recorded = record.fast if plan.mode == "fast" else record.paths
    if plan.paths > len(recorded):
        raise ValueError(f"the plan wants {plan.paths} paths, only {len(recorded)} were recorded")
    paths = [_start(path, controller, plan.token_cap) for path in recorded[: plan.paths]]

    def look() -> RequestView:
        return RequestView(plan, tuple(path.view(i) for i, path in enumerate(paths)))

    moments = sorted({t for p in paths for t in (*p.ends, p.tokens_due)})
    for now in moments:
        running = [path for path in paths if path.state == "running"]
        if not running:
            break
        for path in running:
            _advance(path, now)
        for decision in controller.decide(look()):
            if isinstance(decision, Prune):
                paths[decision.path].state = "pruned"
            elif isinstance(decision, Stop):
                for path in paths:
                    path.state = "stopped" if path.state == "running" else path.state
    answer = controller.answer(look())
    states = [path.state for path in paths]
    return Replayed(
        right=answer.winner is not None and paths[answer.winner].record.right,
        tokens=sum(path.tokens for path in paths),
        coefficient=plan.coefficient,
        started=len(paths),
        pruned=states.count("pruned"),
        stopped=states.count("stopped"),
        all_right=sum(path.record.right for path in paths),
        kept_right=sum(path.record.right and path.state != "pruned" for path in paths),
        fast=plan.mode == "fast",
    )


def _start(record: PathRecord, controller: Controller, cap: int) -> _Running:
    scores, statistics = None, []
    if controller.needs_features:
        with torch.inference_mode():
            scores = controller.score(record.features.float()).tolist()
        statistics = [tuple(row) for row in record.features[:, -len(STATISTICS) :].tolist()]
    ends = [end for end in record.boundaries if end < cap]
    answer = record.answer if record.tokens <= cap else None
    return _Running(record, min(record.tokens, cap), answer, ends, scores, statistics)


def _advance(path: _Running, now: int) -> None:
    path.tokens = min(now, path.tokens_due)
    path.at_boundary = path.steps < len(path.ends) and path.ends[path.steps] == now
    if path.at_boundary:
        path.score = None if path.scores is None else path.scores[path.steps]
        path.steps += 1
    if now >= path.tokens_due:
        path.state = "kept"
