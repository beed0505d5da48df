"""Records a model at work: what a gate sees at every step, straight from the engine that serves it.

One recorder for evaluation and for training, which judge what was recorded, each in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from controllable_inference.core.baselines import FastSample, MajorityVote
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.request import Messages, PathResult, Result, SamplingParams
from controllable_inference.core.views import Answer, Decision, Plan, PromptView, RequestView
from controllable_inference.engines.engine import Engine
from controllable_inference.errors import ControllableError
from controllable_inference.learn.driver import RequestFailed, as_chat, ask_all
from controllable_inference.learn.records import PathRecord, ProblemRecord


class RecordingError(ControllableError):
    """A problem can't be recorded with this model."""


class Asked(Protocol):
    """A problem: what is asked, and under which labels it is counted."""

    @property
    def question(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def level(self) -> int: ...


AskedProblem = TypeVar("AskedProblem", bound=Asked)
Correctness = Callable[[AskedProblem, str | None], bool]
"""Whether a problem's answer is right."""


def unjudged(problem: Asked, answer: str | None) -> bool:
    """For recordings that are judged afterwards."""
    return False


class Recorder:
    """Full voting for one request, and a note of all that another controller would have seen of it.

    It lets no NaN pass; here, as what a sampler makes of one is anybody's guess.
    """

    needs_prompt_hidden = True
    needs_features = True
    needs_siblings = True

    def __init__(self, paths: int, token_cap: int) -> None:
        self.voting = MajorityVote(paths, token_cap)
        self.most_paths = paths
        self.prompt_hidden = torch.zeros(0)
        self.boundaries: list[list[int]] = [[] for _ in range(paths)]
        self.features: list[list[Tensor]] = [[] for _ in range(paths)]
        self._fresh: list[Tensor] = []

    def plan(self, prompt: PromptView) -> Plan:
        assert prompt.hidden is not None
        self.prompt_hidden = prompt.hidden.half()
        _check_finite(self.prompt_hidden)
        return self.voting.plan(prompt)

    def score(self, features: Tensor) -> Tensor:
        """Keeps them until `decide` tells whose they are."""
        _check_finite(features.half())
        self._fresh += features.unbind()
        return torch.zeros(len(features))

    def decide(self, request: RequestView) -> list[Decision]:
        for path in request.paths:
            if path.at_boundary:
                self.boundaries[path.index].append(path.tokens)
                self.features[path.index].append(self._take(path.statistics))
        return []

    def _take(self, statistics: tuple[float, ...] | None) -> Tensor:
        """The vector that ends in these statistics; of paths that are equal so far, either will do."""
        own = (tuple(vector[-len(STATISTICS) :].tolist()) for vector in self._fresh)
        return self._fresh.pop(next(at for at, its in enumerate(own) if its == statistics)).half()

    def answer(self, request: RequestView) -> Answer:
        return self.voting.answer(request)


def _check_finite(states: Tensor) -> None:
    if not states.isfinite().all():
        raise RecordingError(
            "the model's hidden states hold values that are no numbers, or beyond what 16 bits hold; its "
            "weights are damaged, or overflow in this precision"
        )


def record(
    engine: Engine,
    problems: Sequence[AskedProblem],
    seeds: Sequence[int],
    *,
    paths: int,
    token_cap: int,
    temperature: float = 1.0,
    fast_seeds: Sequence[int] = (),
    fast_paths: int = 1,
    concurrency: int = 16,
    prompt: Callable[[str], str | Messages] = as_chat,
    stop: Sequence[str] = (),
    judge: Correctness[AskedProblem] = unjudged,
    progress: Callable[[int], None] = lambda answered: None,
) -> list[ProblemRecord]:
    """`paths` thinking paths of each problem that nobody interrupts, and `fast_paths` without thinking if
    there are `fast_seeds`.

    seeds, fast_seeds: one a problem; path n of a request is the same whatever else the request starts.
    concurrency: most requests in flight. prompt: what the engine gets for a question. stop: strings that end
    a thinking path. progress: called from the engine's thread with the number of problems thought about.
    Raises RecordingError where a question does not fit, memory does not suffice, the model gives numbers that
    are none, or the engine fails.
    """
    longest = max((_length(engine, problem, prompt) for problem in problems), default=0) + token_cap

    def ask(
        controllers: Sequence[MajorityVote | Recorder],
        samplings: Sequence[SamplingParams],
        most: int,
        progress: Callable[[int], None] = lambda answered: None,
    ) -> list[Result]:
        try:
            results, _ = ask_all(
                engine,
                [problem.question for problem in problems],
                samplings,
                controllers=controllers,
                concurrency=most,
                prompt=prompt,
                progress=progress,
            )
        except RequestFailed as failed:
            raise RecordingError(f"recording stopped: {failed}") from failed
        return results

    recorders = [Recorder(paths, token_cap) for _ in problems]
    samplings = [SamplingParams(temperature, seed=seed, stop=stop) for seed in seeds]
    slow = ask(recorders, samplings, min(concurrency, _fitting(engine, longest, paths)), progress)
    fast: Sequence[Result | None] = [None] * len(problems)
    if fast_seeds:
        # one path that does not think is little work beside many that do
        most = max(concurrency, 4 * concurrency // fast_paths)
        samplings = [SamplingParams(temperature, seed=seed) for seed in fast_seeds]
        controllers = [FastSample(token_cap, fast_paths)] * len(problems)
        fast = ask(controllers, samplings, min(most, _fitting(engine, longest, fast_paths)))
    return [
        _record_of(problem, recorder, its_slow, its_fast, judge)
        for problem, recorder, its_slow, its_fast in zip(problems, recorders, slow, fast, strict=True)
    ]


def _length(engine: Engine, problem: AskedProblem, prompt: Callable[[str], str | Messages]) -> int:
    """Tokens of a problem's prompt."""
    length = len(engine.prompts.encode(prompt(problem.question)).slow)
    if length >= engine.room:
        raise RecordingError(
            f"problem {problem} takes {length} tokens, of {engine.room} that fit; leave it out"
        )
    return length


def _fitting(engine: Engine, tokens: int, paths: int) -> int:
    """Requests of that many tokens a path that surely fit into memory at once: an engine without memory
    prunes, and a recording must not.
    """
    whole = -(-min(tokens, engine.room) // engine.limits.block_size) + 1
    return max(1, engine.stats().kv_blocks_free // (paths * whole))


def _record_of(
    problem: AskedProblem, seen: Recorder, slow: Result, fast: Result | None, judge: Correctness[AskedProblem]
) -> ProblemRecord:
    width = 2 * seen.prompt_hidden.shape[1] + len(STATISTICS)
    nothing = torch.zeros(0, width, dtype=torch.half)

    def path_of(path: PathResult, boundaries: list[int], features: list[Tensor]) -> PathRecord:
        if path.fate != "kept":
            raise RecordingError(
                f"problem {problem}: a path ended early ({path.why}); record fewer paths or shorter ones "
                "(train: --paths, --max-tokens)"
            )
        vectors = torch.stack(features) if features else nothing
        right = judge(problem, path.answer)
        return PathRecord(path.tokens, boundaries, vectors, path.answer, right, path.text, path.answer_key)

    return ProblemRecord(
        problem.family,
        problem.level,
        problem.question,
        seen.prompt_hidden,
        [path_of(p, seen.boundaries[p.index], seen.features[p.index]) for p in slow.paths],
        [path_of(p, [], []) for p in fast.paths] if fast else [],
    )
