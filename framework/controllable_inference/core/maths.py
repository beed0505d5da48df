"""Equality of mathematical answers, by math-verify."""

from __future__ import annotations

import re

from controllable_inference.core.answer import normalise
from controllable_inference.core.equality import Exact

LONGEST = 1000
"""Characters; what is longer is an essay or an attack, and is compared as text."""

_ENVIRONMENTS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_REMOVED = re.compile(r"\\[!,;: ]|\\(?:left|right)(?![a-zA-Z])|\\(?:displaystyle|quad)")
_FRACTION = re.compile(r"([-+]?)\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_POWER_OF_TEN = re.compile(r"\d[eE][-+]?\d")


class Maths(Exact):
    """Most equal answers have one key already; math-verify is asked of the others."""

    def key(self, answer: str) -> str | None:
        plain = _REMOVED.sub("", _bare(answer.replace("−", "-")))
        if fraction := _FRACTION.fullmatch(plain.strip()):
            sign, *numbers = fraction.groups()
            above, below = (number for number in numbers if number is not None)
            plain = f"{sign}{above}/{below}"
        return normalise(plain)

    def equal(self, one: str, other: str) -> bool:
        """Raises whatever sympy does, and may take any time."""
        from math_verify import parse, verify

        if max(len(one), len(other)) > LONGEST or all(_is_whole(normalise(a)) for a in (one, other)):
            return False
        # A number as programs write it is another thing to LaTeX: 1.5 times Euler's number times 3.
        parsed = [
            parse(_plain_number(text) or f"${_bare(text)}$", parsing_timeout=None) for text in (one, other)
        ]
        # Asked in both directions, for it takes the first for the reference: "x=5" is 5 in one of them only.
        return any(verify(a, b, timeout_seconds=None) for a, b in (parsed, parsed[::-1]))


def _is_whole(key: str) -> bool:
    return key.lstrip("-").isdigit()


def _plain_number(text: str) -> str | None:
    key = normalise(text) if _POWER_OF_TEN.search(text) else text
    return None if key == text else f"${key}$"


def _bare(answer: str) -> str:
    """Without the marks of an environment round it, or a full stop behind it."""
    text = answer.strip().removesuffix(".").strip()
    for begin, end in _ENVIRONMENTS:
        if text.startswith(begin) and text.endswith(end) and len(text) >= len(begin) + len(end):
            return text[len(begin) : -len(end)].strip()
    return text
