import random
import re

import pytest
from controllable_inference.evaluation.problems import FAMILIES, draw
from controllable_inference.training.traces import AGAIN, CHECK, WAIT, steps, trace

EQUATION = re.compile(r"(?:^|\s)(-?\d+)([+\-*])(\d+)(?: ~(\d+))?=(-?\d+)$")
DIVISION = re.compile(r"^(\d+)/(\d+)=(\d+) r(\w)")


def problems(family, count=40):
    return [problem for level in range(3) for problem in draw(family, level, seed=11, count=count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_equation_in_a_solution_holds(family):
    for problem in problems(family):
        for line in steps(problem):
            if found := EQUATION.search(line):
                left, operator, right, upwards, result = found.groups()
                value = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[operator](
                    int(left), int(right)
                )
                assert value == int(result), line
                assert upwards is None or upwards == str(abs(value))[::-1], line
            if found := DIVISION.match(line):
                number, base, quotient = map(int, found.groups()[:3])
                assert number == quotient * base + int(found[4], 36), line


@pytest.mark.parametrize("family", ["chain_sum", "products", "leg_counting"])
def test_sums_and_products_end_with_their_answer(family):
    for problem in problems(family):
        assert steps(problem)[-1].endswith(f"={problem.answer}")


@pytest.mark.parametrize("family", ["count_bits", "letter_counting"])
def test_counts_end_with_their_answer(family):
    for problem in problems(family):
        assert steps(problem)[-1].endswith(f"n{problem.answer}")


def test_euclid_ends_with_the_divisor():
    for problem in problems("gcd"):
        last = steps(problem)[-1]
        assert re.search(r"\*(\d+)=", last)[1] == problem.answer
        assert last.endswith("=0")


def test_spelling_and_sorting_lay_the_answer_out():
    for problem in problems("spell_backward"):
        assert "".join(steps(problem)) == problem.answer
    for problem in problems("number_sorting"):
        assert str(steps(problem)) == problem.answer


def test_a_conversion_reads_off_its_digits():
    for problem in problems("base_conversion"):
        remainders = [found[4] for line in steps(problem) if (found := DIVISION.match(line))]
        if remainders:
            assert "".join(reversed(remainders)) == problem.answer
        else:
            assert steps(problem)[-1].endswith(f"={problem.answer}")


def test_detours_come_in_the_stated_share_and_never_teach_a_mistake():
    rng, kinds, total = random.Random(0), {"plain": 0, WAIT: 0, CHECK: 0, AGAIN: 0}, 0
    for family in FAMILIES:
        for problem in problems(family, 100):
            straight, lines = steps(problem), trace(problem, rng)
            marks = [m for m in (WAIT, CHECK, AGAIN) if any(line.text.startswith(m) for line in lines)]
            kinds[marks[0] if marks else "plain"] += 1
            total += 1
            bare = [line.text.removeprefix(WAIT).removeprefix(CHECK).removeprefix(AGAIN) for line in lines]
            learned = [text for text, line in zip(bare, lines, strict=True) if line.learned]
            assert set(learned) == set(straight)
            for number, line in enumerate(lines):
                if not line.learned:
                    assert line.text != straight[number]
                    assert lines[number + 1].text == WAIT + straight[number]
    assert kinds["plain"] / total == pytest.approx(0.80, abs=0.03)
    assert kinds[WAIT] / total == pytest.approx(0.08, abs=0.02)
    assert kinds[CHECK] / total == pytest.approx(0.07, abs=0.02)
    assert kinds[AGAIN] / total == pytest.approx(0.05, abs=0.02)
