"""What a controller would have done with recorded paths.

Controllers are pure, so a recording and a controller give the outcome without running the model. Only a
replay knows how a pruned path would have ended, and so only a replay can tell the recall of pruning.

Decisions are asked for at the moments at which the engine asks, and see what they would see there. Differs
from the engine in one point: statistics that compare paths are those of the recording, whose paths all ran
side by side to their ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from controllable_inference.core.answer import normalise
from controllable_inference.core.checks import check_answer, check_controller, check_decisions, check_plan
from controllable_inference.core.controller import Controller
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import (
    Close,
    Decision,
    Inject,
    PathView,
    Probe,
    PromptView,
    Prune,
    RequestView,
    Spawn,
    Stop,
)
from controllable_inference.errors import ControlConfigError
from controllable_inference.learn.records import NO_KEY, PathRecord, ProblemRecord

ROOM = 1 << 20
"""Tokens behind a prompt: no plan is cut to what fits into a context or a cache."""


@dataclass(frozen=True)
class Replayed:
    """One problem under one controller. kept_right of all_right: started paths that would have ended right,
    and how many of them were not pruned.

    tokens: of all paths. steps_latency: tokens of the longest chain of paths that waited for each other, so
    the moment at which the request ended; `tokens` where all paths run one after another.
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
    steps_latency: int


@dataclass(frozen=True)
class PreparedPath:
    """A recorded path. scores, statistics: at each boundary; none for a controller that needs no features."""

    record: PathRecord
    key: str | None
    scores: tuple[float, ...]
    statistics: list[tuple[float, ...]]


@dataclass(frozen=True)
class Prepared:
    """A recorded problem with all that does not change from one replay to the next."""

    record: ProblemRecord
    slow: list[PreparedPath]
    fast: list[PreparedPath]
    is_scored: bool


def prepare(record: ProblemRecord, score: Callable[[Tensor], Tensor] | None) -> Prepared:
    """Score a problem's paths once, for many replays. score: of the controllers to come, None if they need no
    features. Raises ControlConfigError for scores that the engine refuses.
    """

    def of(path: PathRecord, scores: Sequence[float]) -> PreparedPath:
        key = path.key
        if key == NO_KEY:
            key = None if path.answer is None else normalise(path.answer)
        has_statistics = score is not None and path.features.shape[1] >= len(STATISTICS)
        statistics = path.features[:, -len(STATISTICS) :].tolist() if has_statistics else []
        # scores are rounded as the engine rounds them
        return PreparedPath(path, key, tuple(round(s, 4) for s in scores), [tuple(s) for s in statistics])

    scores: list[list[float]] = [[] for _ in record.paths]
    lengths = [len(path.features) for path in record.paths]
    if score is not None and any(lengths):
        features = torch.cat([path.features for path in record.paths]).float()
        with torch.inference_mode():
            said = score(features)
        if not ((said >= 0) & (said <= 1)).all():
            odd = next(one for one in said.tolist() if not 0 <= one <= 1)
            raise ControlConfigError(
                f"a path was given the score {odd}, outside [0, 1]; the gate's weights do not fit this model"
            )
        scores = [part.tolist() for part in said.split(lengths)]
    slow = [of(path, scored) for path, scored in zip(record.paths, scores, strict=True)]
    return Prepared(record, slow, [of(path, []) for path in record.fast], score is not None)


def replay(
    recorded: ProblemRecord | Prepared, controller: Controller, budget: RequestBudget | None = None
) -> Replayed:
    """Run one recorded problem under `controller`, one token of every path at a time, as the engine does.

    Paths are taken in the order in which they were recorded, those that are spawned as well.
    Raises ValueError when the controller wants more paths than were recorded, or when it needs features and
    `recorded` was prepared without a score.
    """
    needs = controller.needs_features
    if isinstance(recorded, ProblemRecord):
        recorded = prepare(recorded, controller.score if needs else None)
    if needs and not recorded.is_scored:
        raise ValueError(f"{type(controller).__name__} needs scores, and the record was prepared without")
    return _Replay(recorded, controller, budget or RequestBudget()).run()


class _Path:
    """A path that was started. view: it as a controller sees it now. next: when it ends a step, or itself."""

    def __init__(self, index: int, path: PreparedPath, start: int, cap: int, scored: bool) -> None:
        self.path = path
        self.start = start
        self.length = min(path.record.tokens, cap)
        self.ended = start + self.length
        # The token that ends a path is never computed, so a step that it ends is not seen.
        self.ends = [start + end for end in path.record.boundaries if end < self.length]
        self.next = self.ends[0] if self.ends else self.ended
        self.natural = path.record.tokens < cap or (path.record.tokens == cap and path.key is not None)
        self.scored = scored
        self.view = PathView(index, "running", 0, 0, None)

    def look(self, **news: Any) -> None:
        """Change the view. `dataclasses.replace` would take most of a replay's time."""
        fresh = object.__new__(PathView)
        fresh.__dict__.update(self.view.__dict__, **news)
        self.view = fresh

    def finish(self) -> None:
        if self.natural:
            record = self.path.record
            self.look(state="kept", tokens=self.length, answer=record.answer, key=self.path.key, reason="eos")
        else:
            self.look(state="kept", tokens=self.length, reason="length")

    def end_step(self, now: int) -> None:
        steps = self.view.steps + 1
        self.next = self.ends[steps] if steps < len(self.ends) else self.ended
        if self.scored:
            statistics = self.path.statistics
            self.look(
                tokens=now - self.start,
                at_boundary=True,
                steps=steps,
                score=self.path.scores[steps - 1],
                scores=self.path.scores[:steps],
                statistics=statistics[steps - 1] if statistics else None,
            )
        else:
            self.look(tokens=now - self.start, at_boundary=True, steps=steps)


class _Replay:
    """One request. Its clock counts the tokens of a path that started with it."""

    def __init__(self, recorded: Prepared, controller: Controller, budget: RequestBudget) -> None:
        hidden = recorded.record.prompt_hidden
        prompt = PromptView(
            tokens=len(hidden),
            hidden=hidden if controller.needs_prompt_hidden else None,
            room=ROOM,
            sampling=SamplingParams(),
            budget=budget,
        )
        self.controller = controller
        traits = check_controller(controller)
        self.plan = check_plan(controller, controller.plan(prompt))
        allowed = min(traits.most_paths, budget.max_paths or traits.most_paths)
        self.most = min(allowed, self.plan.most_paths)
        self.recorded = recorded.fast if self.plan.mode == "fast" else recorded.slow
        self.paths: list[_Path] = []
        self.running: list[_Path] = []
        self.spawning = 0
        self.now = 0

    def run(self) -> Replayed:
        self.start(self.plan.paths)
        while self.running or self.spawning:
            # what is asked for at a step's end starts with the next token
            self.now = self.now + 1 if self.spawning else min([path.next for path in self.running])
            self.advance()
            self.end_paths()
            if self.spawning:
                self.start(self.spawning)
                self.spawning = 0
            self.end_steps()
        return self.outcome()

    def start(self, count: int) -> None:
        first = len(self.paths)
        last = first + min(count, self.most - len(self.running))
        if last > len(self.recorded):
            raise ValueError(f"the controller wants {last} paths, only {len(self.recorded)} were recorded")
        cap, scored = self.plan.token_cap, self.controller.needs_features
        started = [_Path(n, self.recorded[n], self.now, cap, scored) for n in range(first, last)]
        self.paths += started
        self.running += started

    def advance(self) -> None:
        for path in self.running:
            path.look(tokens=self.now - path.start, at_boundary=False)

    def end_paths(self) -> None:
        """What the engine does at the end of a step: paths that have drawn their last token are gone."""
        ended = [path for path in self.running if path.ended == self.now]
        for path in ended:
            path.finish()
        if ended:
            self.running = [path for path in self.running if path.ended != self.now]
            self.decide()

    def end_steps(self) -> None:
        """What the engine does in its next step, when it has computed the tokens drawn."""
        due = [path for path in self.running if path.next == self.now]
        for path in due:
            path.end_step(self.now)
        if due:
            self.decide()

    def decide(self) -> None:
        decisions = self.controller.decide(self.look())
        for decision in check_decisions(self.controller, decisions, self.plan, len(self.paths)):
            self.obey(decision)
            if isinstance(decision, Stop):
                break

    def obey(self, decision: Decision) -> None:
        match decision:
            case Prune(path, reason):
                self.end([self.paths[path]], "pruned", reason)
            case Stop(reason):
                self.end(self.running, "stopped", reason)
                self.spawning = 0
            case Spawn(count):
                self.spawning += count
            case Close() | Inject() | Probe():
                raise ValueError(f"what follows {decision} was not recorded, so it can't be replayed")

    def end(self, paths: Sequence[_Path], state: str, reason: str) -> None:
        for path in paths:
            if path.view.state == "running":
                path.look(state=state, reason=reason, at_boundary=False)
        self.running = [path for path in self.running if path.view.state == "running"]

    def look(self) -> RequestView:
        return RequestView(self.plan, tuple([path.view for path in self.paths]))

    def outcome(self) -> Replayed:
        answer = check_answer(self.controller, self.controller.answer(self.look()), len(self.paths))
        states = [path.view.state for path in self.paths]
        right = [path.path.record.right for path in self.paths]
        return Replayed(
            right=answer.winner is not None and right[answer.winner],
            tokens=sum(path.view.tokens for path in self.paths),
            coefficient=self.plan.coefficient,
            started=len(states),
            pruned=states.count("pruned"),
            stopped=states.count("stopped"),
            all_right=sum(right),
            kept_right=sum(r and state != "pruned" for r, state in zip(right, states, strict=True)),
            fast=self.plan.mode == "fast",
            steps_latency=self.now,
        )
