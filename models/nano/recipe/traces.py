"""Step-by-step solutions: one line a step, as a pupil would write them.

A trace solves the question, says what came out (`so: 74`), and often checks it by another route, as the
reasoning models do that this platform exists for: most of their tokens come after the first answer (Chen
et al. 2024, arXiv:2412.21187). A check ends in `ok!`, or in `no!`, and then the question is solved again. The
kinds of traces come in the stated shares, so that the trained model has errors that can be seen, checks
that tell, and thinking that control can save.

Results of two digits and more are first written from the units up (`~75=57`), the order in which carries
arise.
"""

import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from controllable_inference.learn.problems import Problem
from reasoning_gym.arithmetic.leg_counting import ANIMALS

SHARES = {
    "plain": 0.12,  # solved, no check
    "checked": 0.50,  # solved, checked: ok
    "twice": 0.06,  # solved, checked: ok, and solved again all the same
    "corrected": 0.07,  # a wrong step is noticed at once and put right
    "caught": 0.20,  # a wrong step is carried on, the check notices, solved again
    "false_alarm": 0.05,  # the check itself goes wrong; solving again gives the first answer
}
WAIT, CHECK, AGAIN, SO = "wait: ", "check: ", "again: ", "so: "
OK, NO = "ok!", "no!"
UNCHECKED = ("number_sorting",)  # its solution is its answer, too long to be laid beside another
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Lines = Generator[str, None, str]
"""The lines of one pass over a problem; what it returns is the answer that it came to."""


@dataclass(frozen=True)
class Line:
    """One step. A line that is not `learned` is context only: the model never imitates a mistake."""

    text: str
    learned: bool = True


class Hand:
    """Writes down results, and gets the one numbered `slip_at` wrong; work goes on with what was written."""

    def __init__(self, rng: random.Random | None = None, slip_at: int | None = None) -> None:
        self.rng = rng or random.Random(0)
        self.slip_at = slip_at
        self.written = 0
        self.slipped = False

    def number(self, value: int) -> int:
        text = self.text(str(abs(value)))
        return -int(text) if value < 0 else int(text)

    def text(self, value: str) -> str:
        self.written += 1
        if self.written - 1 != self.slip_at:
            return value
        self.slipped = True
        return _mistaken(value, self.rng)


def _mistaken(text: str, rng: random.Random, in_second_half: bool = False) -> str:
    """The text with one character exchanged for another of its kind."""
    written = text.removesuffix(".0")  # sorted numbers all end in .0: no one errs there
    start = len(written) // 2 if in_second_half else 0
    place = rng.choice([i for i, c in enumerate(written) if c.isalnum() and i >= start])
    kind = "0123456789" if text[place].isdigit() else "abcdefghijklmnopqrstuvwxyz"
    if place == 0 and len(text) > 1:
        kind = kind.replace("0", "")  # no number begins with 0
    return text[:place] + rng.choice(kind.replace(text[place], "")) + text[place + 1 :]


def _result(number: int) -> str:
    return f"={number}" if 0 <= number < 10 else f" ~{str(abs(number))[::-1]}={number}"


# One pass over a problem: the solving route, and where the second argument says so, the checking one.


def _sum(terms: list[int], hand: Hand) -> Lines:
    total = terms[0]
    for term in terms[1:]:
        after = hand.number(total + term)
        yield f"{total}{term:+d}{_result(after)}"
        total = after
    return str(total)


def _chain_sum(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    first, *rest = problem.metadata["expression"].split()
    signs = [1 if operator == "+" else -1 for operator in rest[::2]]
    terms = [int(first), *(s * int(term) for s, term in zip(signs, rest[1::2], strict=True))]
    return _sum(terms[::-1] if other_way else terms, hand)


def _products(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    left, right = (int(factor) for factor in problem.metadata["expression"].split(" * "))
    if other_way:
        left, right = right, left
    if left < 10 and right < 10:
        product = hand.number(left * right)
        yield f"{left}*{right}={product}"
        return str(product)
    total = 0
    for place, digit in enumerate(reversed(str(right))):
        partial = hand.number(left * int(digit))
        yield f"{left}*{digit}{_result(partial)}"
        if not place:
            total = partial
            continue
        shifted = partial * 10**place
        after = hand.number(total + shifted)
        yield f"{total}+{shifted}{_result(after)}"
        total = after
    return str(total)


def _gcd(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    smaller, larger = sorted(problem.metadata["numbers"])
    if other_way and larger > smaller:
        difference = hand.number(larger - smaller)
        yield f"{larger}-{smaller}={difference}"
        smaller, larger = sorted((smaller, difference))
    while smaller:
        times = larger // smaller
        rest = hand.number(larger - times * smaller)
        yield f"{larger}-{times}*{smaller}={larger}-{times * smaller}={rest}"
        larger, smaller = smaller, rest
    return str(larger)


def _convert(digits: str, source: int, target: int, hand: Hand) -> Lines:
    value = 0
    if source == 10:
        value = int(digits)
    else:
        for digit in digits:
            after = hand.number(value * source + _DIGITS.index(digit))
            yield f"{value}*{source}+{_DIGITS.index(digit)}={after}"
            value = after
    if target == 10:
        return str(value)
    found = ""
    while value:
        before, (value, digit_value) = value, divmod(value, target)
        value = hand.number(value)
        found = _DIGITS[digit_value] + found
        yield f"{before}/{target}={value} r{_DIGITS[digit_value]}"
    return found or "0"


def _base_conversion(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    meta = problem.metadata
    return _convert(meta["source_repr"], meta["source_base"], meta["target_base"], hand)


def _number_sorting(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    numbers = problem.metadata["sorted_numbers"]
    written = []
    for number in reversed(numbers) if other_way else numbers:
        written.append(hand.text(number))
        yield written[-1]
    return str(written[::-1] if other_way else written)


def _count_bits(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    number, bits, base = problem.metadata["number"], 0, 4 if other_way else 2
    while number:
        before, (number, digit) = number, divmod(number, base)
        number, bits = hand.number(number), hand.number(bits + digit.bit_count())
        yield f"{before}/{base}={number} r{digit} n{bits}"
    return str(bits)


def _letter_counting(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    words, total = problem.metadata["span"], 0
    for word in reversed(words) if other_way else words:
        found = hand.number(word.lower().count(problem.metadata["target_letter"]))
        total += found
        yield f"{word} {found} n{total}"
    return str(total)


def _spell_backward(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    word, size, written = problem.metadata["word"], 3 if other_way else 2, ""
    for end in range(len(word), 0, -size):
        chunk = hand.text(word[max(0, end - size) : end][::-1])
        written += chunk
        yield chunk
    return written


def _leg_counting(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    animals, total = list(problem.metadata["animals"].items()), 0
    for place, (animal, count) in enumerate(reversed(animals) if other_way else animals):
        legs = hand.number(count * ANIMALS[animal])
        yield f"{animal} {count}*{ANIMALS[animal]}={legs}"
        if not place:
            total = legs
            continue
        after = hand.number(total + legs)
        yield f"{total}+{legs}{_result(after)}"
        total = after
    return str(total)


def _prime_factorization(problem: Problem, hand: Hand, other_way: bool) -> Lines:
    number, factors = problem.metadata["number"], []
    while number > 1:
        factor = next(d for d in range(2, number + 1) if number % d == 0)
        factors.append(str(factor))
        after = hand.number(number // factor)
        yield f"{number}/{factor}={after}"
        number = after
    return " × ".join(factors)


_SOLVERS: dict[str, Callable[[Problem, Hand, bool], Lines]] = {
    "chain_sum": _chain_sum,
    "products": _products,
    "gcd": _gcd,
    "base_conversion": _base_conversion,
    "number_sorting": _number_sorting,
    "count_bits": _count_bits,
    "letter_counting": _letter_counting,
    "spell_backward": _spell_backward,
    "leg_counting": _leg_counting,
    "prime_factorization": _prime_factorization,
}


def _check(problem: Problem, answer: str, hand: Hand) -> Generator[str, None, tuple[str, str]]:
    """The lines of a check of `answer`; what it returns are two equal texts if the answer stood up to it."""
    meta = problem.metadata
    if problem.family == "base_conversion":  # convert back
        back = yield from _convert(answer, meta["target_base"], meta["source_base"], hand)
        return meta["source_repr"], back
    if problem.family == "prime_factorization":  # multiply again
        first, *rest = (int(factor) for factor in answer.split(" × "))
        product = first
        for factor in rest:
            after = hand.number(product * factor)
            yield f"{product}*{factor}={after}"
            product = after
        if not rest:
            yield f"{first}={product}"
        return str(meta["number"]), str(product)
    other = yield from _SOLVERS[problem.family](problem, hand, True)
    return answer, other


def _written(lines: Generator[str, None, Any], hand: Hand) -> tuple[list[Line], Any]:
    """All lines, those with a slip not to be learned, and what the generator returned."""
    found: list[Line] = []
    while True:
        hand.slipped = False
        try:
            text = next(lines)
        except StopIteration as end:
            return found, end.value
        found.append(Line(text, learned=not hand.slipped))


def solve(problem: Problem, hand: Hand | None = None) -> tuple[list[Line], str]:
    """One straight pass, and the answer it came to."""
    hand = hand or Hand()
    return _written(_SOLVERS[problem.family](problem, hand, False), hand)


def check(problem: Problem, answer: str, hand: Hand | None = None) -> tuple[list[Line], bool]:
    """A pass that checks an answer by another route, and whether the answer stood up to it.

    Its last line lays what must be equal side by side, letter by letter, with the verdict: `77 41 no!`.
    Without that, small models learn the share of verdicts, and not to compare.
    """
    hand = hand or Hand()
    lines, (expected, found) = _written(_check(problem, answer, hand), hand)
    pairs = " ".join(map("".join, zip_longest(expected, found, fillvalue="-")))
    agrees = expected == found
    return [*lines, Line(f"{pairs} {OK if agrees else NO}")], agrees


def _marked(mark: str, lines: list[Line]) -> list[Line]:
    return [Line(mark + lines[0].text, lines[0].learned), *lines[1:]]


def _so(problem: Problem, answer: str) -> list[Line]:
    """A line that says what came out; sorted numbers stand there already."""
    return [] if problem.family in UNCHECKED else [Line(SO + answer)]


def _slipped(work: Callable[[Hand], tuple[list[Line], Any]], rng: random.Random, right: Any) -> Any:
    """`work` done with one slip that changes what comes of it; None where eight tries found none."""
    counted = Hand()
    work(counted)
    for _ in range(8):
        lines, came = work(Hand(rng, rng.randrange(max(1, counted.written))))
        if came != right:
            return lines, came
    return None


def trace(problem: Problem, rng: random.Random) -> list[Line]:
    """A solution as the model shall write it, of a kind drawn with SHARES."""
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if problem.family in UNCHECKED and kind != "corrected":
        kind = "plain"
    lines, answer = solve(problem)
    so = _so(problem, answer)
    if kind == "corrected":
        place = rng.randrange(len(lines))
        right = lines[place].text
        wrong = Line(_mistaken(right, rng, in_second_half=True), learned=False)
        return [*lines[:place], wrong, Line(WAIT + right), *lines[place + 1 :], *so]
    if kind == "caught":
        slipped = _slipped(lambda hand: solve(problem, hand), rng, answer)
        if slipped is not None and not check(problem, slipped[1])[1]:
            wrong_lines, wrong_answer = slipped
            checked = _marked(CHECK, check(problem, wrong_answer)[0])
            first = [*wrong_lines, *_so(problem, wrong_answer)]
            return [*first, *checked, *_marked(AGAIN, lines), *so]
    if kind == "false_alarm":
        slipped = _slipped(lambda hand: check(problem, answer, hand), rng, True)
        if slipped is not None:
            return [*lines, *so, *_marked(CHECK, slipped[0]), *_marked(AGAIN, lines), *so]
    if kind in ("checked", "twice"):
        checked = [*lines, *so, *_marked(CHECK, check(problem, answer)[0])]
        return [*checked, *_marked(AGAIN, lines), *so] if kind == "twice" else checked
    return [*lines, *so]


def text_of(lines: Iterable[Line]) -> str:
    """The lines as the model writes them."""
    return "".join(line.text + "\n" for line in lines)
