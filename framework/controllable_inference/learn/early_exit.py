"""What an early exit costs and saves, on problems with known answers.

Each has one path, which tries an answer at the end of every step and is never closed: where it would have
been closed, and with which answer, can then be told for any patience.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.config import CONTROL_FILE, ControlConfig, EarlyExitConfig
from controllable_inference.core.early_exit import agree
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import Answer, Decision, Plan, Probe, PromptView, RequestView, Trial
from controllable_inference.core.vote import one_each, vote
from controllable_inference.engines.engine import Engine
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.problems import Split
from controllable_inference.learn.progress import Progress
from controllable_inference.learn.recording import AskedProblem, Correctness
from controllable_inference.learn.subject import Subject, TrainingError, check_writable, verifier_of
from controllable_inference.learn.task import Judge, Task

MOST_PATIENCE = 8


class Tries:
    """One path, for as long as the model thinks; `trials` holds what it would have answered on the way."""

    most_paths = 1
    needs_prompt_hidden = False
    needs_features = False
    needs_siblings = False

    def __init__(self, token_cap: int, answer_share: float, every: int) -> None:
        self.rule = BudgetRule(1, token_cap, 1, can_be_fast=False, answer_share=answer_share)
        self.every = every
        self.trials: tuple[Trial, ...] = ()

    def plan(self, prompt: PromptView) -> Plan:
        return allocate(prompt, self.rule)

    def score(self, features: object) -> object:
        raise AssertionError("it needs no features")

    def decide(self, request: RequestView) -> list[Decision]:
        (path,) = request.paths
        due = path.state == "running" and path.at_boundary and path.steps % self.every == 0
        return [Probe(0)] if due else []

    def answer(self, request: RequestView) -> Answer:
        self.trials = request.paths[0].trials
        return vote(request.paths, one_each)


@dataclass(frozen=True)
class Tried:
    """One problem. right: whether its own answer was. thinking: tokens it thought.

    exits: for patience 1, 2, ...: tokens at which it would have been closed, and whether with a right answer;
    None where it never would have been.
    """

    right: bool
    thinking: int
    exits: tuple[tuple[int, bool] | None, ...]


def try_answers(
    engine: Engine,
    problems: Sequence[AskedProblem],
    judge: Correctness[AskedProblem],
    *,
    token_cap: int,
    answer_share: float,
    temperature: float,
    seed: int,
    every: int = 1,
    concurrency: int = 32,
    progress: Callable[[int], None] = lambda answered: None,
) -> list[Tried]:
    """Raises RequestFailed when the engine fails a request."""
    controllers = [Tries(token_cap, answer_share, every) for _ in problems]
    results, _ = ask_all(
        engine,
        [problem.question for problem in problems],
        [SamplingParams(temperature, seed=seed + number) for number in range(len(problems))],
        controllers=controllers,  # type: ignore[arg-type]
        budget=RequestBudget(coefficient=1.0),
        concurrency=concurrency,
        progress=progress,
    )
    found = []
    for problem, result, controller in zip(problems, results, controllers, strict=True):
        trials = [exit_of(controller.trials, patience) for patience in range(1, MOST_PATIENCE + 1)]
        exits = tuple(None if at is None else (at.tokens, judge(problem, at.answer)) for at in trials)
        right = judge(problem, result.paths[0].answer)
        found.append(Tried(right, result.usage.reasoning_tokens, exits))
    return found


def calibrate(
    model: Path,
    task: Task,
    *,
    most: int | None = None,
    every: int = 1,
    temperature: float = 1.0,
    token_cap: int = 512,
    seed: int = 7,
    tolerant: bool = False,
    output: Path | None = None,
    concurrency: int = 32,
    progress: Progress | None = None,
) -> ControlConfig:
    """Measure early exits on the calibration problems of a task, and write them into control.json.

    Nothing else of it changes. Raises TrainingError where thinking can't be ended by force, TaskError,
    VerifierError, ControlConfigError, ModelLoadError.
    """
    progress, output = progress or Progress(), output or model
    check_writable(output)
    problems = task.part(Split.CALIBRATION, most)
    subject = Subject.load(model, output)
    if subject.vocabulary().closing is None:
        raise TrainingError(f"{model} does not mark where its thinking ends, so none can be ended early")
    with (
        subject.engine() as engine,
        progress.stage("trial answers"),
        progress.bar("calibration", len(problems), 0) as update,
    ):
        tried = try_answers(
            engine,
            problems,
            Judge(verifier_of(task, subject.config), tolerant),
            token_cap=token_cap,
            answer_share=subject.config.closing.answer_share,
            temperature=temperature,
            seed=seed,
            every=every,
            concurrency=concurrency,
            progress=lambda answered: update(answered, 0),
        )
    found = early_exit_config(tried, every)
    for patience, (lost, thinking) in enumerate(zip(found.lost, found.thinking, strict=True), start=1):
        progress.say(
            f"{patience} trial answers in a row: {lost} of {found.right} right answers lost, "
            f"{thinking:.0%} of the thinking left"
        )
    config = subject.config.model_copy(update={"early_exit": found})
    output.mkdir(parents=True, exist_ok=True)
    config.save(output)
    progress.say(f"written: {output / CONTROL_FILE}")
    return config


def exit_of(trials: Sequence[Trial], patience: int) -> Trial | None:
    """The trial at which `patience` in a row agree, as `EarlyExit.settled` has it."""
    for end in range(patience, len(trials) + 1):
        if agree(trials[end - patience : end]):
            return trials[end - 1]
    return None


def early_exit_config(tried: Sequence[Tried], every: int) -> EarlyExitConfig:
    """What control.json keeps of it."""
    whole = sum(problem.thinking for problem in tried) or 1
    lost, thinking = [], []
    for patience in range(MOST_PATIENCE):
        exits = [(problem, problem.exits[patience]) for problem in tried]
        lost.append(sum(problem.right and at is not None and not at[1] for problem, at in exits))
        left = sum(problem.thinking if at is None else min(at[0], problem.thinking) for problem, at in exits)
        thinking.append(round(left / whole, 4))
    right = sum(problem.right for problem in tried)
    return EarlyExitConfig(every=every, problems=len(tried), right=right, lost=lost, thinking=thinking)
