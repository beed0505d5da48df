from collections import Counter

import pytest
from controllable_inference.learn.problems import (
    FAMILIES,
    HARDER_LEVEL,
    LEVELS,
    UNSEEN_FAMILY,
    Split,
    cells,
    draw,
    draw_split,
    is_correct,
    split_of,
)


@pytest.mark.parametrize(("family", "level"), cells(LEVELS, range(4)))
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


def test_a_split_holds_no_question_twice_and_every_cell_with_more_problems_where_they_are_harder():
    problems = draw_split(Split.TEST, 6, seed=5)
    assert len({problem.question for problem in problems}) == len(problems)
    drawn = Counter((problem.family, problem.level) for problem in problems)
    assert set(drawn) == set(cells())
    assert {level: max(n for (_, lv), n in drawn.items() if lv == level) for level in range(3)} == {
        0: 4,
        1: 6,
        2: 8,
    }


def test_harder_problems_and_unseen_families_are_drawn_on_demand():
    harder = draw_split(Split.TEST, 2, 5, cells(levels=[HARDER_LEVEL]))
    assert {problem.level for problem in harder} == {3}
    assert {problem.family for problem in harder} == set(FAMILIES) - {"spell_backward"}
    unseen = draw_split(Split.TEST, 2, 5, cells([UNSEEN_FAMILY]))
    assert {problem.family for problem in unseen} == {UNSEEN_FAMILY}
