"""Runs systems over problems and sums up what came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controllable_inference.engine.engine import Engine
from controllable_inference.engine.request import Result, SamplingParams
from controllable_inference.evaluation.driver import ask_all
from controllable_inference.evaluation.metrics import Interval, bootstrap
from controllable_inference.evaluation.problems import Problem, is_correct
from controllable_inference.evaluation.systems import System


@dataclass(frozen=True)
class Outcome:
    """One problem under one system."""

    right: bool
    tokens: int
    paths: int
    pruned: int
    stopped: int
    coefficient: float

    @classmethod
    def of(cls, problem: Problem, result: Result) -> "Outcome":
        """Judge a result by the family's verifier."""
        usage = result.usage
        return cls(
            is_correct(problem, result.answer),
            usage.completion_tokens,
            usage.paths_started,
            usage.paths_pruned,
            usage.paths_stopped,
            usage.coefficient,
        )


@dataclass(frozen=True)
class Measured:
    """One system over all problems; `outcomes` in the order of the problems."""

    system: str
    outcomes: list[Outcome]
    seconds: float

    def accuracy(self, of: Sequence[int] | None = None) -> Interval:
        """Share of right answers, over all problems or over those numbered in `of`."""
        return self._mean(lambda outcome: float(outcome.right), of)

    def tokens(self, of: Sequence[int] | None = None) -> Interval:
        """Tokens of all paths, a problem."""
        return self._mean(lambda outcome: float(outcome.tokens), of)

    def paths(self) -> Interval:
        """Paths started, a problem."""
        return self._mean(lambda outcome: float(outcome.paths))

    def pruned_share(self) -> Interval:
        """Share of a problem's paths that the gate dropped."""
        return self._mean(lambda outcome: outcome.pruned / outcome.paths)

    def stopped_share(self) -> Interval:
        """Share of a problem's paths that were ended because the vote was settled."""
        return self._mean(lambda outcome: outcome.stopped / outcome.paths)

    @property
    def problems_per_second(self) -> float:
        """Throughput with as many requests in flight as the suite was run with."""
        return len(self.outcomes) / self.seconds

    def gain_over(self, other: "Measured") -> Interval:
        """Difference of accuracies, paired by problem."""
        pairs = zip(self.outcomes, other.outcomes, strict=True)
        return bootstrap([float(own.right) - float(its.right) for own, its in pairs])

    def _mean(self, figure: Callable[[Outcome], float], of: Sequence[int] | None = None) -> Interval:
        numbers = range(len(self.outcomes)) if of is None else of
        return bootstrap([figure(self.outcomes[number]) for number in numbers])


@dataclass(frozen=True)
class Evaluation:
    """All systems over the same problems."""

    problems: list[Problem]
    measured: list[Measured]
    seed: int
    concurrency: int

    def where(self, fits: Callable[[Problem], bool]) -> list[int]:
        """Numbers of the problems that fit."""
        return [number for number, problem in enumerate(self.problems) if fits(problem)]


def evaluate(
    engine: Engine,
    problems: list[Problem],
    systems: Sequence[System],
    *,
    seed: int,
    concurrency: int,
    progress: Callable[[str, int], None] = lambda system, answered: None,
) -> Evaluation:
    """Every system answers every problem with the same seeds. `progress(system, answered)` may be called from
    another thread.
    """
    questions = [problem.question for problem in problems]
    measured = []
    for system in systems:
        samplings = [
            SamplingParams(temperature=system.temperature, seed=seed + number)
            for number in range(len(problems))
        ]
        results, seconds = ask_all(
            engine,
            questions,
            samplings,
            controller=system.controller,
            concurrency=concurrency,
            progress=lambda answered, name=system.name: progress(name, answered),  # type: ignore[misc]
        )
        outcomes = [Outcome.of(problem, result) for problem, result in zip(problems, results, strict=True)]
        measured.append(Measured(system.name, outcomes, seconds))
    return Evaluation(problems, measured, seed, concurrency)
