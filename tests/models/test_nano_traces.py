"""What the base model learns to write: every line true, every mistake marked, every check able to tell."""

import random
import re
from collections import Counter

import pytest
from controllable_inference.learn.problems import FAMILIES, cells, draw, is_correct

from models.nano.recipe import traces
from models.nano.recipe.traces import (
    AGAIN,
    CHECK,
    NO,
    OK,
    SHARES,
    SO,
    UNCHECKED,
    WAIT,
    Hand,
    check,
    solve,
    trace,
)

EQUATION = re.compile(r"(?:^|\s)(-?\d+)([+\-*])(\d+)(?: ~(\d+))?=(-?\d+)$")
DIVISION = re.compile(r"^(\d+)/(\d+)=(\d+)(?: r(\w))?(?:$| n)")
OPERATION = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def problems(family, count=40):
    return [p for name, level in cells((family,)) for p in draw(name, level, seed=11, count=count)]


def kind_of(lines):
    texts = [line.text for line in lines]
    if any(text.startswith(WAIT) for text in texts):
        return "corrected"
    if not any(text.startswith(CHECK) for text in texts):
        return "plain"
    if any(text.endswith(OK) for text in texts):
        return "twice" if any(text.startswith(AGAIN) for text in texts) else "checked"
    before_check = next(n for n, text in enumerate(texts) if text.startswith(CHECK))
    return "false_alarm" if all(line.learned for line in lines[:before_check]) else "caught"


def assert_true(line):
    if found := EQUATION.search(line):
        left, operator, right, upwards, result = found.groups()
        assert OPERATION[operator](int(left), int(right)) == int(result), line
        assert upwards is None or upwards == str(abs(int(result)))[::-1], line
    if found := DIVISION.match(line):
        number, base, quotient = map(int, found.groups()[:3])
        assert number == quotient * base + int(found[4] or "0", 36), line


@pytest.mark.parametrize("family", FAMILIES)
def test_a_solution_is_true_line_by_line_and_comes_to_the_answer(family):
    for problem in problems(family):
        lines, answer = solve(problem)
        assert is_correct(problem, answer)
        for line in lines:
            assert line.learned
            assert_true(line.text)


CHECKED = [family for family in FAMILIES if family not in UNCHECKED]


@pytest.mark.parametrize("family", CHECKED)
def test_a_check_confirms_the_answer_by_other_lines(family):
    different = 0
    for problem in problems(family):
        lines, agrees = check(problem, problem.answer)
        assert agrees
        for line in lines:
            assert_true(line.text)
        different += lines != solve(problem)[0]
    assert different > 0


def test_a_verdict_lays_what_must_be_equal_side_by_side():
    (problem,) = draw("chain_sum", 0, seed=2, count=1)
    answer = problem.answer
    assert check(problem, answer)[0][-1].text == " ".join(2 * letter for letter in answer) + " " + OK
    longer = check(problem, answer + "7")[0][-1].text
    assert longer == " ".join(2 * letter for letter in answer) + " 7- " + NO


@pytest.mark.parametrize("family", CHECKED)
def test_a_check_refuses_nearly_every_wrong_answer_that_a_slip_leads_to(family):
    rng, refused, wrong = random.Random(3), 0, 0
    for problem in problems(family):
        count = Hand()
        solve(problem, count)
        _, answer = solve(problem, Hand(rng, rng.randrange(count.written)))
        if answer != problem.answer:
            wrong += 1
            refused += not check(problem, answer)[1]
    assert wrong > 10
    assert refused / wrong > 0.9


def test_work_after_a_slip_goes_on_with_what_was_written():
    (problem,) = draw("chain_sum", 2, seed=2, count=1)
    lines, answer = solve(problem, Hand(random.Random(1), slip_at=0))
    assert [line.learned for line in lines] == [False, *[True] * (len(lines) - 1)]
    assert answer != problem.answer
    for line in lines[1:]:
        assert_true(line.text)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", SHARES)
def test_every_kind_of_trace_ends_right_and_never_teaches_a_mistake(family, kind, monkeypatch):
    monkeypatch.setattr(traces, "SHARES", {kind: 1.0})
    rng, made = random.Random(0), Counter()
    for problem in problems(family, 10):
        lines = trace(problem, rng)
        made[kind_of(lines)] += 1
        slips = [line for line in lines if not line.learned]
        assert len(slips) == (kind_of(lines) in ("corrected", "caught", "false_alarm"))
        if family not in UNCHECKED:
            assert [line.text for line in lines if line.text.startswith(SO)][-1] == SO + problem.answer
        verdicts = [mark for line in lines for mark in (OK, NO) if line.text.endswith(mark)]
        expected = {"checked": [OK], "twice": [OK], "caught": [NO], "false_alarm": [NO]}
        assert verdicts == expected.get(kind_of(lines), [])
    if family not in UNCHECKED or kind in ("plain", "corrected"):
        assert made[kind] >= 0.8 * made.total()  # where no slip does harm, a plain trace takes its place


def test_kinds_come_in_the_stated_shares():
    rng = random.Random(0)
    kinds = Counter(kind_of(trace(problem, rng)) for family in CHECKED for problem in problems(family, 100))
    assert sum(SHARES.values()) == pytest.approx(1)
    for kind, share in SHARES.items():
        assert kinds[kind] / kinds.total() == pytest.approx(share, abs=0.03), kind
