"""Records a model at work: what a gate sees at every step, straight from the engine that serves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from controllable_inference.control.baselines import FastSample, MajorityVote
from controllable_inference.control.features import STATISTICS
from controllable_inference.control.views import Answer, Decision, Plan, PromptView, RequestView
from controllable_inference.engine.engine import Engine
from controllable_inference.engine.request import Messages, PathResult, SamplingParams
from controllable_inference.evaluation.driver import as_chat, ask_all
from controllable_inference.evaluation.problems import Problem, is_correct
from controllable_inference.evaluation.records import PathRecord, ProblemRecord

FAST_SEEDS = 2**40  # far from the seeds of any thinking path


class Recorder:
    """Full voting for one request, and a note of all that another controller would have seen of it."""

    needs_prompt_hidden = True
    needs_features = True

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
        return self.voting.plan(prompt)

    def score(self, features: Tensor) -> Tensor:
        """Keeps them until `decide` tells whose they are."""
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


def record(
    engine: Engine,
    problems: Sequence[Problem],
    seeds: Sequence[int],
    *,
    paths: int,
    token_cap: int,
    temperature: float = 1.0,
    fast: bool = True,
    concurrency: int = 16,
    prompt: Callable[[str], str | Messages] = as_chat,
    stop: Sequence[str] = (),
    progress: Callable[[int], None] = lambda answered: None,
) -> list[ProblemRecord]:
    """`paths` thinking paths of each problem that nobody interrupts, and one without thinking if `fast`.

    seeds: one a problem; path n of a request is the same whatever else the request starts. prompt: what the
    engine gets for a question. stop: strings that end a path. progress: called with the number of problems
    answered so far.
    """
    questions = [problem.question for problem in problems]
    recorders = [Recorder(paths, token_cap) for _ in problems]
    samplings = [SamplingParams(temperature, seed=seed, stop=stop) for seed in seeds]
    slow, _ = ask_all(
        engine,
        questions,
        samplings,
        controllers=recorders,
        concurrency=concurrency,
        prompt=prompt,
        progress=progress,
    )
    quick: Sequence[PathResult | None] = [None] * len(problems)
    if fast:
        samplings = [SamplingParams(temperature=temperature, seed=seed + FAST_SEEDS) for seed in seeds]
        answered, _ = ask_all(
            engine,
            questions,
            samplings,
            controller=FastSample(token_cap),
            concurrency=4 * concurrency,
            prompt=prompt,
        )
        quick = [result.paths[0] for result in answered]
    return [
        _of(problem, recorder, result.paths, quickly)
        for problem, recorder, result, quickly in zip(problems, recorders, slow, quick, strict=True)
    ]


def _of(
    problem: Problem, seen: Recorder, paths: Sequence[PathResult], quick: PathResult | None
) -> ProblemRecord:
    width = 2 * seen.prompt_hidden.shape[1] + len(STATISTICS)
    nothing = torch.zeros(0, width, dtype=torch.half)

    def path_of(path: PathResult, boundaries: list[int], features: list[Tensor]) -> PathRecord:
        right = is_correct(problem, path.answer)
        vectors = torch.stack(features) if features else nothing
        return PathRecord(path.tokens, boundaries, vectors, path.answer, right, path.text)

    return ProblemRecord(
        problem.family,
        problem.level,
        problem.question,
        seen.prompt_hidden,
        [path_of(p, seen.boundaries[p.index], seen.features[p.index]) for p in paths],
        [] if quick is None else [path_of(quick, [], [])],
    )
