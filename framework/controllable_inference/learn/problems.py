"""The task suite: reasoning-gym families by level, their splits and their verifier.

A problem belongs to exactly one split, decided by a hash of its question. Whatever seed, level or
process drew it, a question seen in training can therefore never turn up in calibration or test.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from itertools import islice
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dependencies of unrelated families compile with SyntaxWarnings
    import reasoning_gym

LEVELS: dict[str, tuple[dict[str, Any], ...]] = {
    "chain_sum": (
        {"min_terms": 2, "max_terms": 3, "min_digits": 2, "max_digits": 2},
        {"min_terms": 4, "max_terms": 5, "min_digits": 2, "max_digits": 2},
        {"min_terms": 5, "max_terms": 7, "min_digits": 2, "max_digits": 3},
        {"min_terms": 8, "max_terms": 9, "min_digits": 2, "max_digits": 3},
    ),
    "products": (
        {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
        {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3},
        {"min_terms": 2, "max_terms": 2, "min_digits": 3, "max_digits": 3},
        {"min_terms": 2, "max_terms": 2, "min_digits": 3, "max_digits": 4},
    ),
    "gcd": (
        {"min_value": 2, "max_value": 100},
        {"min_value": 50, "max_value": 500},
        {"min_value": 300, "max_value": 2000},
        {"min_value": 2000, "max_value": 5000},
    ),
    "base_conversion": (
        {"min_base": 2, "max_base": 5, "min_value": 1, "max_value": 60},
        {"min_base": 2, "max_base": 10, "min_value": 20, "max_value": 250},
        {"min_base": 2, "max_base": 16, "min_value": 100, "max_value": 1000},
        {"min_base": 2, "max_base": 16, "min_value": 1000, "max_value": 4000},
    ),
    "number_sorting": (
        {"min_numbers": 4, "max_numbers": 5, "min_decimals": 0, "max_decimals": 0},
        {"min_numbers": 7, "max_numbers": 8, "min_decimals": 0, "max_decimals": 0},
        {"min_numbers": 9, "max_numbers": 11, "min_decimals": 0, "max_decimals": 0},
        {"min_numbers": 12, "max_numbers": 13, "min_decimals": 0, "max_decimals": 0},
    ),
    "count_bits": (
        {"min_n": 10, "max_n": 100},
        {"min_n": 100, "max_n": 1000},
        {"min_n": 1000, "max_n": 8000},
        {"min_n": 8000, "max_n": 40000},
    ),
    "letter_counting": (
        {"min_words": 2, "max_words": 4},
        {"min_words": 5, "max_words": 8},
        {"min_words": 9, "max_words": 12},
        {"min_words": 13, "max_words": 16},
    ),
    "spell_backward": (  # reasoning-gym has no longer words
        {"min_word_len": 3, "max_word_len": 5},
        {"min_word_len": 6, "max_word_len": 8},
        {"min_word_len": 9, "max_word_len": 10},
    ),
    "leg_counting": (
        {"min_animals": 2, "max_animals": 2, "min_instances": 1, "max_instances": 12},
        {"min_animals": 3, "max_animals": 4, "min_instances": 1, "max_instances": 20},
        {"min_animals": 5, "max_animals": 6, "min_instances": 1, "max_instances": 40},
        {"min_animals": 7, "max_animals": 8, "min_instances": 1, "max_instances": 40},
    ),
    "prime_factorization": (
        {"min_value": 4, "max_value": 100},
        {"min_value": 50, "max_value": 500},
        {"min_value": 300, "max_value": 2000},
        {"min_value": 2000, "max_value": 5000},
    ),
    "basic_arithmetic": (
        {"operators": ["+", "-"], "allow_parentheses": False, "allow_negation": False}
        | {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2},
    ),
}
FAMILIES = tuple(family for family in LEVELS if family != "basic_arithmetic")
"""What the base model is trained on, at the levels 0 to 2. Nothing is ever trained on level 3."""
UNSEEN_BY_CONTROL = ("leg_counting", "prime_factorization")
"""The base model knows them; gate, budget predictor and policy never see them in training."""
CONTROL_FAMILIES = tuple(family for family in FAMILIES if family not in UNSEEN_BY_CONTROL)
UNSEEN_FAMILY = "basic_arithmetic"
"""No part is trained on it: sums, worded as no other family words them."""
TRAINED_LEVELS, HARDER_LEVEL = 3, 3
LEVEL_SHARE = (2 / 3, 1, 4 / 3, 1)
"""Problems of a level for each one of level 1; where nearly every path is right, control has little to do."""

Cell = tuple[str, int]
"""A family and a level of it."""


class Split(StrEnum):
    """What a problem may be used for."""

    BASE = "base"  # the language model's own training
    GATE = "gate"  # training of the gate and the budget predictor
    VALIDATION = "validation"  # choosing among them
    CALIBRATION = "calibration"  # turning scores into probabilities
    TEST = "test"  # reported figures, nothing else


SUITE_SHARES = {
    Split.BASE: 0.7,
    Split.GATE: 0.12,
    Split.VALIDATION: 0.04,
    Split.CALIBRATION: 0.04,
    Split.TEST: 0.1,
}
"""How the suite's problems are shared out by their hash; from its base split the nano model has learned."""


@dataclass(frozen=True)
class Problem:
    """One question with its reference answer and the generator's metadata."""

    family: str
    level: int
    question: str
    answer: str
    metadata: dict[str, Any] = field(repr=False, compare=False)

    @property
    def split(self) -> Split:
        """The split this question belongs to, whatever it was drawn for."""
        return split_of(self.question)


def place_of(question: str) -> float:
    """Where in [0, 1) a question lies, by SHA-256 of its stripped text."""
    return int.from_bytes(hashlib.sha256(question.strip().encode()).digest()[:8], "big") / 2**64


def split_of(question: str, shares: Mapping[Split, float] = SUITE_SHARES) -> Split:
    """Split of a question, by its place. shares: of the splits in [0, 1], which add up to 1."""
    place, end = place_of(question), 0.0
    shared = [split for split in Split if shares.get(split)]
    for split in shared:
        end += shares[split]
        if place < end:
            return split
    return shared[-1]  # 0.1 and its like add up to a little less than 1


def draw(family: str, level: int, seed: int, count: int) -> Iterator[Problem]:
    """`count` problems of one family and level, all splits mixed, repetitions possible."""
    dataset = reasoning_gym.create_dataset(family, seed=seed, size=count, **LEVELS[family][level])
    for index in range(count):
        entry = dataset[index]
        yield Problem(family, level, entry["question"].strip(), entry["answer"], entry["metadata"])


def cells(families: Sequence[str] = FAMILIES, levels: Sequence[int] = range(TRAINED_LEVELS)) -> list[Cell]:
    """Every level of every family that has it."""
    return [(family, level) for family in families for level in levels if level < len(LEVELS[family])]


def draw_split(
    split: Split, per_cell: int, seed: int, drawn_from: Sequence[Cell] | None = None, attempts: int = 80
) -> list[Problem]:
    """About `per_cell * LEVEL_SHARE[level]` problems of `split` from each cell (`cells()` if not said); no
    question comes twice.

    Small families may have fewer different questions than asked for; `attempts * per_cell` draws
    are made before a cell is left short.
    """
    found: dict[str, Problem] = {}
    for number, (family, level) in enumerate(cells() if drawn_from is None else drawn_from):
        # reasoning-gym seeds problem i with seed + i, so seeds must lie further apart than there are draws
        drawn = draw(family, level, seed * 10_000_019 + number * 100_003, attempts * per_cell)
        fresh = (p for p in drawn if p.split is split and p.question not in found)
        found |= {p.question: p for p in islice(fresh, max(1, round(per_cell * LEVEL_SHARE[level])))}
    return list(found.values())


def is_correct(problem: Problem, answer: str | None) -> bool:
    """Whether reasoning-gym's verifier of the family gives the answer full marks."""
    if answer is None:
        return False
    entry = {"question": problem.question, "answer": problem.answer, "metadata": problem.metadata}
    try:
        return _verifier(problem.family)(answer.strip(), entry) == 1.0
    except ValueError:  # some verifiers parse before they compare
        return False


@cache
def _verifier(family: str) -> Callable[[str, dict[str, Any]], float]:
    return reasoning_gym.get_score_answer_fn(family)
