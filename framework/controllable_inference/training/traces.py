"""Step-by-step solutions: one line a step, as a pupil would write them.

Results of two digits and more are first written from the units up (`~75=57`), the order in which
carries arise. A stated share of traces contains a re-checked step, a wrong step that is noticed and
put right, or a whole second pass, so that the trained model has thinking that control can save.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from reasoning_gym.arithmetic.leg_counting import ANIMALS

from controllable_inference.evaluation.problems import Problem

CORRECTED, RECHECKED, REDONE = 0.08, 0.07, 0.05  # shares of traces with a detour, by kind
WAIT, CHECK, AGAIN = "wait: ", "check: ", "again: "
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Line:
    """One step. A line that is not `learned` is context only: the model never imitates a mistake."""

    text: str
    learned: bool = True


def _result(number: int) -> str:
    return f"={number}" if 0 <= number < 10 else f" ~{str(abs(number))[::-1]}={number}"


def _chain_sum(problem: Problem) -> list[str]:
    first, *rest = problem.metadata["expression"].split()
    total, lines = int(first), []
    for operator, term in zip(rest[::2], rest[1::2], strict=True):
        after = total + int(term) if operator == "+" else total - int(term)
        lines.append(f"{total}{operator}{term}{_result(after)}")
        total = after
    return lines


def _products(problem: Problem) -> list[str]:
    left, right = (int(factor) for factor in problem.metadata["expression"].split(" * "))
    if left < 10 and right < 10:
        return [f"{left}*{right}={left * right}"]
    lines, total = [], 0
    for place, digit in enumerate(reversed(str(right))):
        partial = left * int(digit)
        lines.append(f"{left}*{digit}{_result(partial)}")
        if place:
            shifted = partial * 10**place
            lines.append(f"{total}+{shifted}{_result(total + shifted)}")
        total += partial * 10**place
    return lines


def _gcd(problem: Problem) -> list[str]:
    smaller, larger = sorted(problem.metadata["numbers"])
    lines = []
    while smaller:
        times = larger // smaller
        lines.append(f"{larger}-{times}*{smaller}={larger}-{times * smaller}={larger % smaller}")
        larger, smaller = smaller, larger % smaller
    return lines


def _base_conversion(problem: Problem) -> list[str]:
    meta, lines, value = problem.metadata, [], 0
    if meta["source_base"] != 10:
        for digit in meta["source_repr"]:
            after = value * meta["source_base"] + _DIGITS.index(digit)
            lines.append(f"{value}*{meta['source_base']}+{_DIGITS.index(digit)}={after}")
            value = after
    value = meta["decimal_value"]
    if meta["target_base"] != 10:
        while value:
            value, digit = divmod(before := value, meta["target_base"])
            lines.append(f"{before}/{meta['target_base']}={value} r{_DIGITS[digit]}")
    return lines


def _number_sorting(problem: Problem) -> list[str]:
    return [str(number) for number in problem.metadata["sorted_numbers"]]


def _count_bits(problem: Problem) -> list[str]:
    number, bits, lines = problem.metadata["number"], 0, []
    while number:
        bits += number & 1
        lines.append(f"{number}/2={number // 2} r{number & 1} n{bits}")
        number //= 2
    return lines


def _letter_counting(problem: Problem) -> list[str]:
    total, lines = 0, []
    for word in problem.metadata["span"]:
        found = word.lower().count(problem.metadata["target_letter"])
        total += found
        lines.append(f"{word} {found} n{total}")
    return lines


def _spell_backward(problem: Problem) -> list[str]:
    word = problem.metadata["word"]
    return [word[max(0, end - 2) : end][::-1] for end in range(len(word), 0, -2)]


def _leg_counting(problem: Problem) -> list[str]:
    total, lines = 0, []
    for animal, count in problem.metadata["animals"].items():
        legs = count * ANIMALS[animal]
        lines.append(f"{animal} {count}*{ANIMALS[animal]}={legs}")
        if total:
            lines.append(f"{total}+{legs}{_result(total + legs)}")
        total += legs
    return lines


_SOLVERS: dict[str, Callable[[Problem], list[str]]] = {
    "chain_sum": _chain_sum,
    "products": _products,
    "gcd": _gcd,
    "base_conversion": _base_conversion,
    "number_sorting": _number_sorting,
    "count_bits": _count_bits,
    "letter_counting": _letter_counting,
    "spell_backward": _spell_backward,
    "leg_counting": _leg_counting,
}


def steps(problem: Problem) -> list[str]:
    """The straight solution, without detours."""
    return _SOLVERS[problem.family](problem)


def _mistaken(line: str, rng: random.Random) -> str:
    """The line with one character of its second half exchanged for another of its kind."""
    written = len(line.removesuffix(".0"))  # sorted numbers all end in .0: no one errs there
    places = [i for i, c in enumerate(line[:written]) if c.isalnum() and i >= written // 2]
    place = rng.choice(places)
    kind = "0123456789" if line[place].isdigit() else "abcdefghijklmnopqrstuvwxyz"
    return line[:place] + rng.choice(kind.replace(line[place], "")) + line[place + 1 :]


def trace(problem: Problem, rng: random.Random) -> list[Line]:
    """A solution as the model shall write it, with a detour in a stated share of cases."""
    lines = [Line(step) for step in steps(problem)]
    lot, place = rng.random(), rng.randrange(len(lines))
    if lot < CORRECTED:
        right = lines[place].text
        lines[place : place + 1] = [Line(_mistaken(right, rng), learned=False), Line(WAIT + right)]
    elif lot < CORRECTED + RECHECKED:
        lines.insert(place + 1, Line(CHECK + lines[place].text))
    elif lot < CORRECTED + RECHECKED + REDONE:
        lines += [Line(AGAIN + lines[0].text), *lines[1:]]
    return lines
