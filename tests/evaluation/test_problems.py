from collections import Counter

import pytest
from controllable_inference.evaluation.problems import (
    FAMILIES,
    Split,
    draw,
    draw_split,
    is_correct,
    split_of,
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", range(3))
def test_the_reference_answer_passes_the_verifier_and_a_wrong_one_does_not(family, level):
    for problem in draw(family, level, seed=1, count=20):
        assert is_correct(problem, problem.answer)
        assert not is_correct(problem, "certainly not")
        assert not is_correct(problem, None)


def test_a_draw_is_decided_by_its_seed():
    first, again, other = (list(draw("gcd", 1, seed, 5)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_question_has_one_split_whatever_white_space_surrounds_it():
    assert split_of("What is 1 + 1?") == split_of("  What is 1 + 1?\n")


def test_splits_are_about_as_large_as_stated():
    counts = Counter(split_of(f"question {number}") for number in range(10_000))
    assert counts[Split.BASE] == pytest.approx(7000, abs=200)
    assert counts[Split.TEST] == pytest.approx(1000, abs=120)


def test_problems_drawn_for_different_splits_never_meet():
    drawn = {split: {p.question for p in draw_split(split, 5, seed=3)} for split in Split}
    for split, questions in drawn.items():
        assert questions
        for other in set(Split) - {split}:
            assert not questions & drawn[other]


def test_a_split_holds_no_question_twice_and_every_cell():
    problems = draw_split(Split.TEST, 4, seed=5)
    assert len({problem.question for problem in problems}) == len(problems)
    cells = Counter((problem.family, problem.level) for problem in problems)
    assert len(cells) == 3 * len(FAMILIES)
    assert max(cells.values()) == 4
