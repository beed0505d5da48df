"""Recordings of a model at work: paths sampled by the engine that serves it, and what a gate sees of them.

What was recorded is judged afterwards, so that a verifier may be changed without sampling again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from controllable_inference.control.baselines import MajorityVote
from controllable_inference.control.features import STATISTICS
from controllable_inference.control.views import Plan, PromptView
from controllable_inference.engine.engine import Engine
from controllable_inference.engine.request import PathResult, Result, SamplingParams
from controllable_inference.errors import ControllableError
from controllable_inference.evaluation.driver import RequestFailed, ask_all
from controllable_inference.evaluation.recording import Recorder
from controllable_inference.evaluation.records import PathRecord, ProblemRecord
from controllable_inference.training.task import Judge, TaskProblem

PATHS = 16
FAST_PATHS = 8
TOKEN_CAP = 512


class RecordingError(ControllableError):
    """A problem can't be recorded with this model."""


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


class _Checking(Recorder):
    """A recorder that lets no NaN pass; here, as what a sampler makes of one is anybody's guess."""

    def plan(self, prompt: PromptView) -> Plan:
        plan = super().plan(prompt)
        _check_finite(self.prompt_hidden)
        return plan

    def score(self, features: Tensor) -> Tensor:
        _check_finite(features.half())
        return super().score(features)


def _check_finite(states: Tensor) -> None:
    if not states.isfinite().all():
        raise RecordingError(
            "the model's hidden states hold values that are no numbers, or beyond what 16 bits hold; its "
            "weights are damaged, or overflow in this precision"
        )


class _FastPaths(MajorityVote):
    def plan(self, prompt: PromptView) -> Plan:
        return replace(super().plan(prompt), mode="fast")


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
    progress: called from the engine's thread with the number of problems thought about so far.
    Raises RecordingError where a question does not fit, memory does not suffice, the model gives numbers that
    are none, or the engine fails.
    """
    longest = 0
    for problem in problems:
        asked = len(engine.prompts.encode([{"role": "user", "content": problem.question}]).slow)
        longest = max(longest, asked)
        if asked >= engine.room:
            raise RecordingError(
                f"problem {problem} takes {asked} tokens, of {engine.room} that fit; leave it out of the task"
            )

    # An engine without memory prunes, and a recording must not; so no more at once than surely fit.
    blocks = engine.stats().kv_blocks_free
    whole = -(-min(longest + sampling.token_cap, engine.room) // engine.config.block_size) + 1
    concurrency = max(1, min(concurrency, blocks // (sampling.paths * whole)))

    def ask(mode: str, controllers: Sequence[MajorityVote | Recorder]) -> list[Result]:
        seeds = [sampling.seed_of(problem.question, mode) for problem in problems]
        try:
            results, _ = ask_all(
                engine,
                [problem.question for problem in problems],
                [SamplingParams(temperature=sampling.temperature, seed=seed) for seed in seeds],
                controllers=controllers,
                concurrency=concurrency,
                progress=progress if mode == "slow" else lambda answered: None,
            )
        except RequestFailed as failed:
            raise RecordingError(f"recording stopped: {failed}") from failed
        return results

    recorders = [_Checking(sampling.paths, sampling.token_cap) for _ in problems]
    slow = ask("slow", recorders)
    fast: Sequence[Result | None] = [None] * len(problems)
    if engine.vocabulary.think_end is not None:
        fast = ask("fast", [_FastPaths(sampling.fast_paths, sampling.token_cap)] * len(problems))
    return [_record_of(*each) for each in zip(problems, recorders, slow, fast, strict=True)]


def _record_of(problem: TaskProblem, seen: Recorder, slow: Result, fast: Result | None) -> ProblemRecord:
    empty = torch.zeros(0, 2 * seen.prompt_hidden.shape[1] + len(STATISTICS), dtype=torch.half)

    def path_of(path: PathResult, boundaries: list[int], features: Tensor) -> PathRecord:
        if path.fate != "kept":
            raise RecordingError(
                f"problem {problem}: a path ended early ({path.why}); lower --max-tokens or --paths"
            )
        return PathRecord(path.tokens, boundaries, features, path.answer, False, path.text)

    features = [torch.stack(vectors) if vectors else empty for vectors in seen.features]
    return ProblemRecord(
        problem.family,
        problem.level,
        problem.question,
        seen.prompt_hidden,
        [path_of(p, seen.boundaries[p.index], features[p.index]) for p in slow.paths],
        [path_of(p, [], empty) for p in fast.paths] if fast else [],
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
