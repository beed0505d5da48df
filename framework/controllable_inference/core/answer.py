"""From a path's text to an answer that can be compared with another path's."""

from __future__ import annotations

import re
from fractions import Fraction

_BOXED = "\\boxed{"
_NUMBER = re.compile(r"[-+]?(\d[\d,]*\.?\d*|\.\d+)([eE][-+]?\d{1,3})?(\s*/\s*[-+]?\d+)?")
LONGEST_NUMBER = 100  # characters; what is longer is compared as text, as its value could cost seconds
_CUE = re.compile(r"(?:final answer|answer is|answer:)\W{0,4}(?:is\b)?[ :*]*(\S[^\n]*)", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")


def content(text: str, think_end: str | None) -> str | None:
    """The part of a path that is meant for the reader: what follows the first `think_end`.

    None if the path never stopped thinking. With `think_end` None (fast mode, or a model that does not think
    aloud) the whole text.
    """
    if think_end is None:
        return text.strip()
    _, found, rest = text.partition(think_end)
    return rest.strip() if found else None


def final_answer(said: str) -> str | None:
    """The answer in what a model says to its reader; None if that is nothing.

    That is the inside of the last \\boxed{...} that is closed, else what stands behind the last "the answer
    is" or the like on its line, else everything.
    """
    boxed = _last_boxed(said)
    if boxed is None:
        cued = _CUE.findall(said)
        boxed = cued[-1].strip(" *").removesuffix(".") if cued else None
    return (boxed or said).strip() or None


def _last_boxed(text: str) -> str | None:
    end = len(text)
    while (start := text.rfind(_BOXED, 0, end)) >= 0:
        depth, begin, escaped = 1, start + len(_BOXED), False
        for at in range(begin, len(text)):
            if not escaped:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[begin:at]
            escaped = text[at] == "\\" and not escaped
        end = start
    return None


def normalise(answer: str) -> str:
    """A key under which equal answers meet: numbers by exact value, everything else by folded words."""
    plain = answer.strip().strip("$").strip().rstrip(".").strip().replace("{,}", ",")
    value = _exact_number(plain) if len(plain) <= LONGEST_NUMBER else None
    if value is not None:
        return str(value)
    return " ".join(plain.casefold().split())


def _exact_number(text: str) -> Fraction | None:
    if not _NUMBER.fullmatch(text) or ("," in text and not _THOUSANDS.fullmatch(text)):
        return None
    numerator, _, denominator = text.replace(",", "").replace(" ", "").partition("/")
    try:
        return Fraction(numerator) / (Fraction(denominator) if denominator else 1)
    except (ValueError, ZeroDivisionError):
        return None
