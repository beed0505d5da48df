"""Texts of a model, made fit to be shown."""

from __future__ import annotations

import unicodedata

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BLOCKS = "▁▂▃▄▅▆▇█"


def plain(text: str) -> str:
    """The text without what acts on a reader's machine: control characters other than tab and newline,
    halves of characters, marks that turn the direction of writing."""
    return "".join("�" if _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    if character in "\t\n":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS


def one_line(text: str) -> str:
    return " ".join(text.split())


def width(text: str) -> int:
    """Columns that a text takes in a font of fixed width."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text: str, columns: int) -> str:
    """The text on one line, in so many columns at most; "…" stands for what is left out."""
    text = one_line(text)
    if width(text) <= columns:
        return text
    kept, used = "", 0
    for character in text:
        used += width(character)
        if used > columns - 1:
            break
        kept += character
    return kept.rstrip() + "…"


def sparkline(scores: list[float]) -> str:
    """One block a score in [0, 1], the higher the better."""
    return "".join(_BLOCKS[min(int(score * len(_BLOCKS)), len(_BLOCKS) - 1)] for score in scores)


def listed(numbers: tuple[int, ...]) -> str:
    """1, 2, 3 and 7 as "1–3, 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        str(run[0]) if len(run) == 1 else f"{run[0]}{'–' if len(run) > 2 else ', '}{run[-1]}" for run in runs
    )
