"""Recordings of a model at work: paths sampled by the engine that serves it, and what a gate sees of them.

What was recorded is judged afterwards, so that a verifier may be changed without sampling again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from controllable_inference.engines.engine import Engine
from controllable_inference.learn import recording
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.task import Judge, TaskProblem

PATHS = 16
FAST_PATHS = 8
TOKEN_CAP = 512


@dataclass(frozen=True)
class Sampling:
    """How paths are sampled: what of a problem's recording decides all but the model.

    paths, fast_paths: with and without thinking. token_cap: most tokens of a path.
    """

    paths: int = PATHS
    fast_paths: int = FAST_PATHS
    token_cap: int = TOKEN_CAP
    temperature: float = 1.0
    seed: int = 7

    def seed_of(self, question: str, mode: str) -> int:
        """The question's own, so that a recording does not depend on what else is recorded."""
        digest = hashlib.sha256(f"{self.seed}\n{mode}\n{question}".encode()).digest()
        return int.from_bytes(digest[:7], "big")


def record(
    engine: Engine,
    problems: Sequence[TaskProblem],
    sampling: Sampling,
    *,
    concurrency: int = 64,
    progress: Callable[[int], None] = lambda answered: None,
) -> list[ProblemRecord]:
    """Every problem's paths, none of them judged yet: `right` is False throughout.

    Without fast paths where the model has no thinking to leave out. concurrency: most requests in flight.
    progress: as of `recording.record`, whose RecordingError it raises.
    """
    thinks = engine.vocabulary.think_end is not None
    return recording.record(
        engine,
        problems,
        [sampling.seed_of(problem.question, "slow") for problem in problems],
        paths=sampling.paths,
        token_cap=sampling.token_cap,
        temperature=sampling.temperature,
        fast_seeds=[sampling.seed_of(problem.question, "fast") for problem in problems] if thinks else (),
        fast_paths=sampling.fast_paths,
        concurrency=concurrency,
        progress=progress,
    )


def judged(record: ProblemRecord, problem: TaskProblem, judge: Judge) -> ProblemRecord:
    """The recording with the verifier's word on every path, and the problem's labels as they are by now."""

    def with_verdict(paths: Sequence[PathRecord]) -> list[PathRecord]:
        return [replace(path, right=judge(problem, path.answer)) for path in paths]

    return replace(
        record,
        family=problem.family,
        level=problem.level,
        paths=with_verdict(record.paths),
        fast=with_verdict(record.fast),
    )
