"""Numbers as pages write them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from controllable_inference.learn.statistics import Interval


def number(value: float, digits: int = 0) -> str:
    """1,234 or 12.3; a dash for what is not known, a sign for what no setting reaches."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return _minus(f"{value:,.{digits}f}")


def percent(value: float, digits: int = 1, signed: bool = False) -> str:
    """12.3 %."""
    if not math.isfinite(value):
        return number(value)
    return _minus(f"{100 * value:{'+' if signed else ''}.{digits}f} %")


def points(value: float) -> str:
    """A difference of accuracies in points, signed."""
    return number(value) if not math.isfinite(value) else _minus(f"{100 * value:+.1f}")


def with_interval(interval: Interval, digits: int = 0) -> str:
    """1,234 [1,200, 1,270]."""
    low, high = number(interval.low, digits), number(interval.high, digits)
    return f"{number(interval.mean, digits)} [{low}, {high}]"


def percent_interval(interval: Interval, digits: int = 1, signed: bool = False) -> str:
    """12.3 % [11.0, 13.5]."""
    ends = (percent(end, digits, signed).removesuffix(" %") for end in (interval.low, interval.high))
    return f"{percent(interval.mean, digits, signed)} [{', '.join(ends)}]"


def points_interval(interval: Interval) -> str:
    """+0.3 [−0.5, +1.1]."""
    return f"{points(interval.mean)} [{points(interval.low)}, {points(interval.high)}]"


def large(value: float) -> str:
    """1.23 G."""
    if not math.isfinite(value):
        return number(value)
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return number(value)


def flow(text: str) -> str:
    """One line of it, however it was broken in the source."""
    return " ".join(text.split())


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """A Markdown table; the first column is text, the others are aligned to the right if they are numbers."""
    rule = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _minus(text: str) -> str:
    """With a true minus sign, and without one before zero."""
    if text.startswith("-") and not any(digit in text for digit in "123456789"):
        text = text[1:]
    return text.replace("-", "−")
