"""What all of the plugin's output has in common: marks, ages, tables, and where it goes."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import yaml
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from controllable_operator.plugin.marks import BAD, BUSY, IDLE, OK

STYLES = {OK: "green", BUSY: "yellow", BAD: "red", IDLE: "dim"}
_MARKS = {OK: "✔", BUSY: "…", BAD: "✖", IDLE: "·"}
_PLAIN_MARKS = {OK: "+", BUSY: "~", BAD: "x", IDLE: "."}

# Shown as the pictures that Unicode has of them; line feed and tab stay.
_CONTROL = {code: 0x2400 + code for code in range(32) if code not in (9, 10)}
_CONTROL |= dict.fromkeys(range(127, 160), 0xFFFD)

_GAP = 3  # between columns
_FOLDED = 40  # narrower than this a message can hardly be read

# A pipe has no width: whoever greps wants whole lines.
_PIPE_WIDTH = 10_000


def console(stream: TextIO = sys.stdout) -> Console:
    """Colours and the terminal's width on a terminal, plain whole lines elsewhere. NO_COLOR is honoured."""
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def emit(content: RenderableType, stream: TextIO) -> None:
    """Print it; outside a terminal without the spaces that fill up a table's last column."""
    out = console(stream)
    if stream.isatty():
        out.print(content)
        return
    with out.capture() as captured:
        out.print(content)
    stream.write("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")) + "\n")
    stream.flush()


class Mark:
    """A health mark, as a sign where the terminal can show it and in ASCII where it can't."""

    def __init__(self, health: str) -> None:
        self.health = health

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        marks = _PLAIN_MARKS if options.ascii_only else _MARKS
        yield Text(marks[self.health], style=STYLES[self.health], end="")

    def __str__(self) -> str:
        return _MARKS[self.health]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, 1)


class FittingTable:
    """A table as kubectl has them, for the width that there is.

    flexible: the column that folds. dispensable: columns that go, in this order, where that is not enough.
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[RenderableType]],
        flexible: str,
        dispensable: Sequence[str] = (),
    ) -> None:
        self._columns, self._rows = list(columns), list(rows)
        self._flexible, self._dispensable = flexible, dispensable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = dict(zip(self._columns, map(self._width, range(len(self._columns))), strict=True))
        for column in self._dispensable:
            if sum(shown.values()) + _GAP * len(shown) <= options.max_width:
                break
            shown.pop(column, None)
        result = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for column in shown:
            result.add_column(column, no_wrap=column != self._flexible, overflow="fold")
        for row in self._rows:
            result.add_row(*(cell for name, cell in zip(self._columns, row, strict=True) if name in shown))
        yield result

    def _width(self, index: int) -> int:
        cells = [self._columns[index], *(str(row[index]) for row in self._rows)]
        width = max(map(cell_len, cells))
        return min(width, _FOLDED) if self._columns[index] == self._flexible else width


def section(title: str, *content: RenderableType) -> Group:
    """A part with a heading and an empty line before it."""
    return Group(Text(), Text(title, style="bold"), *content)


def age(created: str | None, now: datetime) -> str:
    """How long ago, in kubectl's short form."""
    if not created:
        return ""
    seconds = max(int((now - datetime.fromisoformat(created)).total_seconds()), 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if days < 2:
        return f"{hours}h"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def count(number: int, noun: str) -> str:
    """So many, in words: 1 model, 2 models."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float | None) -> str:
    """A share as a whole percentage, "-" where it isn't known."""
    return "-" if share is None else f"{share:.0%}"


def printable(document: Any) -> Any:
    """The same with control characters made visible: what others wrote must not steer the terminal."""
    if isinstance(document, dict):
        return {key: printable(value) for key, value in document.items()}
    if isinstance(document, list):
        return [printable(item) for item in document]
    return document.translate(_CONTROL) if isinstance(document, str) else document


def now() -> datetime:
    """The time, for ages."""
    return datetime.now(UTC)


def dump(document: Any, form: str) -> str:
    """A document as JSON or YAML."""
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False)
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True)).rstrip("\n")
