"""Serves a few systems for latency and throughput, taking turns so that the machine's moods hit all alike."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from controllable_inference.bench.measure import LIMITS
from controllable_inference.bench.replaced import replaced
from controllable_inference.bench.systems import System
from controllable_inference.core.request import SamplingParams
from controllable_inference.engines.engine import Engine
from controllable_inference.engines.native import sampler
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.problems import Problem, is_correct

CONCURRENCY = 16


@dataclass(frozen=True)
class Round:
    """Problems served in one go, by numbers and with the seeds of their recordings."""

    seed: int
    numbers: list[int]
    problems: list[Problem]
    sampling: list[int]


@dataclass(frozen=True)
class Answered:
    """One served problem. seconds: from submission to the answer."""

    number: int
    seed: int
    right: bool
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Block:
    """One round under one system. control, engine: seconds of the engine's thread, in control and in all."""

    seed: int
    problems: int
    seconds: float
    control: float
    engine: float


@dataclass(frozen=True)
class Served:
    """One system over all rounds."""

    system: str
    answered: list[Answered]
    blocks: list[Block]

    @property
    def problems_per_second(self) -> float:
        return sum(block.problems for block in self.blocks) / sum(block.seconds for block in self.blocks)

    @property
    def control_share(self) -> float:
        """Control's part of the engine's time."""
        return sum(block.control for block in self.blocks) / sum(block.engine for block in self.blocks)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, plain: dict[str, Any]) -> Served:
        answered = [Answered(**one) for one in plain["answered"]]
        return cls(plain["system"], answered, [Block(**block) for block in plain["blocks"]])


class ControlClock:
    """How long an engine's thread is busy with control: statistics of drawn tokens, features, scores, plans
    and decisions; all that an engine without control would not do. What it does about a decision is
    mechanism: texts, results and freed memory are not counted.
    """

    def __init__(self) -> None:
        self.control = 0.0
        self.engine = 0.0
        self._counting = [False]  # the innermost call's state is the last

    def _timed(self, call: Callable[..., Any], counts: bool) -> Callable[..., Any]:
        """The same call; entering it turns counting on or off, and leaving it back to what it was."""

        def timed(*args: Any, **options: Any) -> Any:
            changes = self._counting[-1] is not counts
            self._counting.append(counts)
            began = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self._counting.pop()
                if changes:
                    took = time.perf_counter() - began
                    self.control += took if counts else -took

        return timed

    def _whole(self, step: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            began = time.perf_counter()
            step()
            self.engine += time.perf_counter() - began

        return timed

    @contextmanager
    def on(self, engine: Engine) -> Iterator[None]:
        """Measure that engine, which must have no requests when this begins and ends."""
        core = engine._core
        outputs, lifecycle = core.outputs, core.outputs.lifecycle
        control: list[tuple[Any, str]] = [(outputs.control, name) for name in ("computed", "decide", "drawn")]
        control += [(outputs, "plan"), (sampler, "token_statistics")]
        mechanism = [(lifecycle, "end_path"), (lifecycle, "complete")]
        with ExitStack() as stack:
            for counts, calls in ((True, control), (False, mechanism)):
                for owner, name in calls:
                    stack.enter_context(replaced(owner, name, self._timed(getattr(owner, name), counts)))
            stack.enter_context(replaced(core, "step", self._whole(core.step)))
            yield


def serve(
    engine: Engine,
    systems: Sequence[System],
    rounds: Sequence[Round],
    concurrency: int = CONCURRENCY,
    progress: Callable[[str, int], None] = lambda system, answered: None,
) -> list[Served]:
    """Every system answers every round; in each round another one begins.

    progress(system, answered) may be called from another thread.
    """
    answered: dict[str, list[Answered]] = {system.name: [] for system in systems}
    blocks: dict[str, list[Block]] = {system.name: [] for system in systems}
    for nth, its_round in enumerate(rounds):
        first = nth % len(systems)
        for system in (*systems[first:], *systems[:first]):
            before = len(answered[system.name])
            tell = functools.partial(_tell, progress, system.name, before)
            new, block = _serve_round(engine, system, its_round, concurrency, tell)
            answered[system.name] += new
            blocks[system.name].append(block)
    return [Served(system.name, answered[system.name], blocks[system.name]) for system in systems]


def _tell(progress: Callable[[str, int], None], system: str, before: int, answered: int) -> None:
    progress(system, before + answered)


def _serve_round(
    engine: Engine, system: System, its: Round, concurrency: int, progress: Callable[[int], None]
) -> tuple[list[Answered], Block]:
    clock = ControlClock()
    with clock.on(engine):
        results, seconds = ask_all(
            engine,
            [problem.question for problem in its.problems],
            [SamplingParams(system.temperature, seed=seed) for seed in its.sampling],
            controllers=[system.controller_for(problem.question) for problem in its.problems],
            budget=LIMITS,
            concurrency=concurrency,
            progress=progress,
        )
    answered = [
        Answered(
            number,
            its.seed,
            # without a winner the answer is what some path had come to, which replay counts as none
            result.finish_reason == "stop" and is_correct(problem, result.answer),
            result.usage.completion_tokens,
            result.usage.seconds,
        )
        for number, problem, result in zip(its.numbers, its.problems, results, strict=True)
    ]
    return answered, Block(its.seed, len(its.problems), seconds, clock.control, clock.engine)


def rounds_of(
    problems: Sequence[Problem], count: int, seeds: Sequence[int], seed_of: Callable[[int, int], int]
) -> list[Round]:
    """`count` problems in all, in one round a seed; each round has others while they last.

    seed_of(seed, number): the seed of sampling that the problem of that number was recorded with.
    """
    size = max(1, count // len(seeds))
    order = itertools.cycle(range(len(problems)))
    found = []
    for seed in seeds:
        numbers = list(itertools.islice(order, min(size, len(problems))))
        its_problems = [problems[number] for number in numbers]
        found.append(Round(seed, numbers, its_problems, [seed_of(seed, number) for number in numbers]))
    return found
