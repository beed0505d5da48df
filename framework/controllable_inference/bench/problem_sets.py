"""Which problems are recorded, how often, and what for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from controllable_inference.learn.problems import (
    CONTROL_FAMILIES,
    HARDER_LEVEL,
    UNSEEN_BY_CONTROL,
    UNSEEN_FAMILY,
    Cell,
    Problem,
    Split,
    cells,
    draw_split,
)

TEST, VALIDATION, GREEDY = "test", "validation", "greedy"
UNSEEN_FAMILIES, HARDER, FOREIGN = "families unseen by control", "harder level", "unseen family"
OUT_OF_DISTRIBUTION = (UNSEEN_FAMILIES, HARDER, FOREIGN)

DRAWN_WITH = 2026
"""Seed of the problems themselves; the seeds of an evaluation are those of sampling."""
PATHS = 16
TOKEN_CAP = 512
"""Of one path, the same for every system."""
CHUNK = 48


@dataclass(frozen=True)
class Scale:
    """How much is measured. problems: unseen ones. seeds: of sampling; the first sees all problems, each
    further one `repeated` problems. validation: problems that settings are chosen on. outside: problems of
    each kind out of distribution. live: problems that are served, in all.
    """

    problems: int = 1008
    seeds: int = 3
    repeated: int = 240
    validation: int = 192
    outside: int = 60
    live: int = 144

    @classmethod
    def quick(cls) -> Scale:
        """Enough to see that everything works; its figures mean nothing."""
        return cls(problems=24, seeds=2, repeated=24, validation=24, outside=6, live=16)

    def with_problems(self, problems: int) -> Scale:
        """The same proportions with another number of unseen problems."""

        def scaled(count: int) -> int:
            return max(1, round(count * problems / self.problems))

        return Scale(
            problems,
            self.seeds,
            min(problems, scaled(self.repeated)),
            scaled(self.validation),
            scaled(self.outside),
            min(problems, scaled(self.live)),
        )


@dataclass(frozen=True)
class ProblemSet:
    """Problems recorded with one seed of sampling. offset: keeps parts from sharing random numbers."""

    name: str
    seed: int
    problems: tuple[Problem, ...]
    offset: int = 0
    paths: int = PATHS
    temperature: float = 1.0

    def sampling_seed(self, number: int) -> int:
        """Of the problem with that number: the same in every part of that name and seed."""
        return self.seed * 1_000_003 + self.offset + number

    def chunks(self) -> list[Chunk]:
        """Portions of like mixture, so that no portion has all the long problems."""
        count = math.ceil(len(self.problems) / CHUNK)
        return [Chunk(self, range(first, len(self.problems), count)) for first in range(count)]


@dataclass(frozen=True)
class Chunk:
    """Some problems of a part, by their numbers: what one worker records, and one file keeps."""

    part: ProblemSet
    numbers: Sequence[int]

    @property
    def problems(self) -> list[Problem]:
        return [self.part.problems[number] for number in self.numbers]

    @property
    def seeds(self) -> list[int]:
        return [self.part.sampling_seed(number) for number in self.numbers]


def spread(split: Split, count: int, drawn_from: Sequence[Cell], seed: int = DRAWN_WITH) -> list[Problem]:
    """`count` problems, as evenly over the cells as these have different ones: the cells take turns.

    Any first part of them is spread as evenly. Fewer than `count` where the cells have no more.
    """
    per_cell = math.ceil(count / len(drawn_from))
    while True:
        found = draw_split(split, per_cell, seed, drawn_from)
        if len(found) >= count or per_cell > 4 * count / len(drawn_from):
            break
        per_cell = math.ceil(per_cell * 1.1)
    by_cell = [[p for p in found if (p.family, p.level) == cell] for cell in drawn_from]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_cell))
    return [problem for problem in turns if problem is not None][:count]


def parts_of(scale: Scale) -> list[ProblemSet]:
    """Everything that is recorded, in the order in which it is wanted."""
    known = cells(CONTROL_FAMILIES)
    test = tuple(spread(Split.TEST, scale.problems, known))
    outside = {
        UNSEEN_FAMILIES: cells(UNSEEN_BY_CONTROL),
        HARDER: cells(CONTROL_FAMILIES, [HARDER_LEVEL]),
        FOREIGN: cells([UNSEEN_FAMILY]),
    }
    first = ProblemSet(TEST, 1, test)
    return [
        ProblemSet(VALIDATION, 1, tuple(spread(Split.VALIDATION, scale.validation, known)), 100_000),
        first,
        *(replace(first, seed=seed, problems=test[: scale.repeated]) for seed in range(2, scale.seeds + 1)),
        *(
            ProblemSet(name, 1, tuple(spread(Split.TEST, scale.outside, its_cells)), 200_000 + 10_000 * nth)
            for nth, (name, its_cells) in enumerate(outside.items())
        ),
        ProblemSet(GREEDY, 1, test, 300_000, paths=1, temperature=0.0),
    ]
