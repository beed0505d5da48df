"""What control is trained on: problems, and a verifier that says which answers are right.

A task is the built-in suite, a JSONL file of questions and answers, or whatever a Python function returns.
Its problems are split by a hash of their question, as the suite's are, so that a question that control has
learned from never turns up where it is measured, whatever file, order or process it came from.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from controllable_inference.core.answer import normalise
from controllable_inference.core.equality import AnswerClasses
from controllable_inference.errors import ControllableError
from controllable_inference.learn.problems import (
    CONTROL_FAMILIES,
    SUITE_SHARES,
    Cell,
    Problem,
    Split,
    cells,
    draw_split,
    is_correct,
    place_of,
    split_of,
)
from controllable_inference.unicode import fault_of

ENTRY_POINTS = "controllable_inference.tasks"
SUITE = "reasoning-gym"
SHARES = {Split.GATE: 0.6, Split.VALIDATION: 0.1, Split.CALIBRATION: 0.2, Split.TEST: 0.1}
"""How problems are shared out by their hash, where no base model was trained on any of them."""
NEEDED = {Split.GATE: 20, Split.VALIDATION: 8, Split.CALIBRATION: 8, Split.TEST: 1}
"""With fewer problems a split is of no use. A promise of 98 % recall takes 49 to calibrate."""
PER_CELL = {Split.GATE: 20, Split.VALIDATION: 10, Split.CALIBRATION: 24, Split.TEST: 6}
"""How many problems of each family and level the suite gives, where nobody says."""


class TaskError(ControllableError):
    """A task can't be found or read, or it has not the problems that training takes."""


@dataclass(frozen=True)
class TaskProblem:
    """A question, and what its verifier needs to judge an answer.

    id: for messages. family, level: labels by which figures may be grouped. metadata: the verifier's own.
    """

    question: str
    answer: str | None = None
    id: str = ""
    family: str = ""
    level: int = 0
    metadata: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        short = self.question if len(self.question) <= 60 else self.question[:59] + "…"
        return f"{self.id} ({short!r})" if self.id else repr(short)


Verifier = Callable[[TaskProblem, str], bool]


def same_answer(problem: TaskProblem, answer: str) -> bool:
    """Whether an answer is the reference: numbers by value, text without case and surplus white space."""
    return problem.answer is not None and normalise(answer) == normalise(problem.answer)


def equal_by(equality: str) -> Verifier:
    """Whether an answer equals the reference by an equality of `core.equality`, as votes go by one."""

    def verify(problem: TaskProblem, answer: str) -> bool:
        if problem.answer is None:
            return False
        classes = AnswerClasses(equality)
        return classes.key(problem.answer) == classes.key(answer)

    return verify


@dataclass(frozen=True)
class Task:
    """Problems and a verifier: `verifier(problem, answer)` says True or False.

    shares: of the splits in [0, 1], adding up to 1. Raises TaskError where there is no problem, or two ask
    the same and want different answers; of two that are equal one stays.
    """

    name: str
    problems: Sequence[TaskProblem]
    verifier: Verifier = same_answer
    shares: Mapping[Split, float] = field(default_factory=lambda: dict(SHARES))

    def __post_init__(self) -> None:
        if not self.problems:
            raise TaskError(f"task {self.name} has no problems")
        if not math.isclose(sum(self.shares.values()), 1):
            raise TaskError(f"task {self.name}: its shares add up to {sum(self.shares.values())}, not to 1")
        different: dict[str, TaskProblem] = {}
        for problem in self.problems:
            before = different.setdefault(problem.question.strip(), problem)
            if before.answer != problem.answer:
                raise TaskError(
                    f"task {self.name} asks the same in {before} and {problem}, and wants {before.answer!r} "
                    f"and {problem.answer!r}; leave one of them out"
                )
        object.__setattr__(self, "problems", tuple(different.values()))

    def part(self, split: Split, most: int | None = None) -> list[TaskProblem]:
        """The problems of a split in the order of their hash, `most` at most: asking for more adds to them.

        Raises TaskError where there are too few to be of use, saying how many it takes.
        """
        needed, share = NEEDED.get(split, 1), self.shares.get(split, 0.0)
        if most is not None and most < needed:
            raise TaskError(
                f"{most} problems are too few for the {split} split, which takes {needed} at least"
            )
        its = [problem for problem in self.problems if split_of(problem.question, self.shares) is split]
        found = sorted(its, key=lambda problem: place_of(problem.question))
        if len(found) < needed:
            missing = math.ceil(1.5 * (needed - len(found)) / share) if share else 0
            advice = f"add about {missing} problems" if missing else "give that split a share"
            raise TaskError(
                f"task {self.name}: {len(found)} of its {len(self.problems)} problems fall into the {split} "
                f"split ({share:.0%} of all, by a hash of the question), which takes {needed} at least; "
                f"{advice}"
            )
        return found[:most]


# where tasks come from


def suite(per_cell: Mapping[Split, int] = PER_CELL, seed: int = 7) -> Task:
    """The reasoning-gym suite: control learns from CONTROL_FAMILIES, and is tested on all that nano knows."""
    problems = [
        TaskProblem(p.question, p.answer, f"{p.family}-{p.level}", p.family, p.level, p)
        for split, count in per_cell.items()
        for p in draw_split(split, count, seed, _cells(split))
    ]
    return Task(SUITE, problems, _judged_by_the_suite, SUITE_SHARES)


def _cells(split: Split) -> list[Cell]:
    return cells() if split is Split.TEST else cells(CONTROL_FAMILIES)


def _judged_by_the_suite(problem: TaskProblem, answer: str) -> bool:
    assert isinstance(problem.metadata, Problem)
    return is_correct(problem.metadata, answer)


def from_jsonl(path: Path) -> Task:
    """Problems from a file with one JSON object a line, judged by `same_answer`.

    Fields: question, answer (text or a number); if wanted id, family (text) and level (a whole number).
    Others are left alone. Raises TaskError with the line and the field at fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} can't be read as a file of problems: {error}") from error
    lines = enumerate(text.split("\n"), start=1)
    problems = [_read_line(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    if not problems:
        raise TaskError(f'{path} has no problems; write one {{"question": …, "answer": …}} a line')
    return Task(path.stem, problems)


def _read_line(line: str, where: str) -> TaskProblem:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError) as error:  # the latter of nested brackets
        raise TaskError(f"{where}: is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise TaskError(f"{where}: must be an object with question and answer, is {line.strip()[:60]}")

    def text(name: str, default: str | None = None, numbers: bool = False) -> str:
        value = read.get(name, default)
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or (default is None and not value.strip()):
            said = "is missing" if name not in read else f"must be text that is not empty, is {value!r}"
            raise TaskError(f"{where}: {name}: {said}")
        if fault := fault_of(value):
            raise TaskError(f"{where}: {name}: {fault}")
        return value

    level = read.get("level", 0)
    if not isinstance(level, int) or isinstance(level, bool):
        raise TaskError(f"{where}: level: must be a whole number, is {level!r}")
    return TaskProblem(
        text("question"),
        text("answer", numbers=True),
        text("id", default=where, numbers=True),
        text("family", default=""),
        level,
    )


def find(name: str, per_cell: Mapping[Split, int] = PER_CELL) -> Task:
    """A task by name: the suite, a `module:function` of yours, or one that an installed package offers.

    per_cell: size of the suite. Modules are looked for in the working directory too. Raises TaskError.
    """
    if name == SUITE:
        return suite(per_cell)
    offered = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if ":" in name:
        return _called(name, name)
    if name in offered:
        return _called(name, offered[name])
    raise TaskError(
        f"there is no task {name}; known are {', '.join(sorted({SUITE, *offered}))}. A function of yours is "
        f"named as module:function; packages offer theirs in the entry points {ENTRY_POINTS}"
    )


def _called(name: str, function: str) -> Task:
    """What `function`, given as module:function, returns."""
    module, _, attributes = function.partition(":")
    if not module or not attributes:
        raise TaskError(f"{function} is not of the form module:function")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look there by itself
        sys.path.insert(0, here)
    try:
        factory: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            factory = getattr(factory, attribute)
        task = factory()
    except TaskError:
        raise
    except Exception as error:  # it is another's code, and may raise anything
        raise TaskError(f"task {name} can't be made: {type(error).__name__}: {error}") from error
    if not isinstance(task, Task):
        raise TaskError(f"task {name} gave a {type(task).__name__}; its function must return a Task")
    return task


# what a verifier says


class VerifierError(TaskError):
    """A verifier raised, or said neither True nor False."""


class Judge:
    """Asks a task's verifier, once for each different answer, and bears with it as far as asked.

    tolerant: an answer it fails on counts as wrong, and `errors` holds what happened; else VerifierError is
    raised.
    """

    def __init__(self, verifier: Verifier, tolerant: bool = False) -> None:
        self.verifier = verifier
        self.tolerant = tolerant
        self.errors: list[VerifierError] = []
        self._said: dict[tuple[str, str], bool] = {}

    def __call__(self, problem: TaskProblem, answer: str | None) -> bool:
        if answer is None:
            return False
        asked = problem.question, answer
        if asked not in self._said:
            self._said[asked] = self._ask(problem, answer)
        return self._said[asked]

    def _ask(self, problem: TaskProblem, answer: str) -> bool:
        try:
            right = self.verifier(problem, answer)
            if right not in (True, False):
                raise TypeError(f"it returned {right!r} in place of True or False")
        except Exception as error:  # it is another's code, and may raise anything
            failed = VerifierError(
                f"the verifier failed on problem {problem}, answer {answer[:200]!r}: {type(error).__name__}: "
                f"{error}. Mend it and run the same command again, nothing recorded is lost; or let such "
                "answers count as wrong with --on-verifier-error wrong"
            )
            if not self.tolerant:
                raise failed from error
            self.errors.append(failed)
            return False
        return bool(right)
