"""The document as SVG: squares for GPUs, inside what connects them, inside their nodes. Pure."""

import textwrap
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from controllable_operator.plugin.gpu_map.words import asks, colours, connection, got, split, summary

Manifest = dict[str, Any]

_WIDTH = 940  # of the whole; a node with many GPUs has more
_SQUARE, _GAP, _PAD = 34, 5, 6
_MARGIN, _HEAD, _FOOT = 14, 30, 24  # inside a node's card: around, above its GPUs, below them
_BETWEEN, _EDGE = 16, 12  # between cards, around all
_ENTRY, _LINE = 40, 18  # height of a model in the legend, and of a line


@dataclass(frozen=True)
class _Row:
    """Where a node's GPUs and frames lie, from the left upper corner of the row."""

    squares: list[int]
    frames: list[
        tuple[Manifest, int, int, int]
    ]  # and its left, its right, how far it reaches above and below
    width: int
    reach: int


def picture(document: Manifest) -> str:
    """A file of its own, for light and dark pages."""
    style = f"<style>{stylesheet()}</style>"
    return (
        drawn(document).replace(">", f'>{style}<rect class="ground" width="100%" height="100%"/>', 1) + "\n"
    )


def stylesheet() -> str:
    """What the picture looks like."""
    return (files(__package__) / "drawing.css").read_text("utf-8")


def drawn(document: Manifest) -> str:
    """The svg element, without its style."""
    shades, apart = colours(document), split(document)
    rows = [_row(node) for node in document["nodes"]]
    card = max((row.width for row in rows), default=0) + 2 * _MARGIN
    columns = max(1, (_WIDTH + _BETWEEN) // (card + _BETWEEN))
    card = max(card, (_WIDTH + _BETWEEN) // columns - _BETWEEN)
    width = columns * (card + _BETWEEN) - _BETWEEN
    parts, top = [], 0
    for first in range(0, len(rows), columns):
        line = range(first, min(first + columns, len(rows)))
        reach = max(rows[index].reach for index in line)
        for index in line:
            inside = _card(document["nodes"][index], rows[index], card, reach, shades, apart)
            x = (index - first) * (card + _BETWEEN)
            parts.append(f'<g transform="translate({x} {top})">{inside}</g>')
        top += _height(reach) + _BETWEEN
    legend, bottom = _legend(document, shades, top + _BETWEEN, width)
    across, down = width + 2 * _EDGE, bottom + 2 * _EDGE
    return (
        f'<svg class="gpus" xmlns="http://www.w3.org/2000/svg" viewBox="-{_EDGE} -{_EDGE} {across} {down}" '
        f'width="{across}" height="{down}" role="img" aria-labelledby="gpus-title gpus-desc">'
        '<title id="gpus-title">Which GPU is whose, and what connects them</title>'
        f'<desc id="gpus-desc">{escape(summary(document))}</desc>\n'
        + "\n".join([*parts, *legend])
        + "\n</svg>"
    )


def _row(node: Manifest) -> _Row:
    """Frames are around their GPUs, each with room for those that it holds."""
    levels = sorted({(frame["gpus"], frame["kind"]) for frame in node["frames"]})
    depth = {level: number for number, level in enumerate(levels, 1)}
    squares, frames, x = [], [], 0
    open_: list[tuple[Manifest, int]] = []
    for position in range(len(node["gpus"])):
        for frame in (frame for frame in node["frames"] if frame["first"] == position):
            open_.append((frame, x))
            x += _PAD
        squares.append(x)
        x += _SQUARE
        while open_ and open_[-1][0]["first"] + open_[-1][0]["gpus"] - 1 == position:
            frame, left = open_.pop()
            x += _PAD
            frames.append((frame, left, x, _PAD * depth[frame["gpus"], frame["kind"]]))
        x += _GAP
    return _Row(squares, frames, x - _GAP, _PAD * len(levels))


def _height(reach: int) -> int:
    return _HEAD + _SQUARE + 2 * reach + _FOOT + _MARGIN


def _card(node: Manifest, row: _Row, width: int, reach: int, shades: dict[str, str], apart: set[str]) -> str:
    """A node. reach: room for frames above its GPUs and below them, at least its own."""
    height, top = _height(reach), _HEAD + reach
    inside = [
        f'<rect class="card" rx="10" width="{width}" height="{height}"/>',
        f'<text class="name" x="{_MARGIN}" y="20">{escape(node["name"])}</text>',
        f'<text class="dim" x="{width - _MARGIN}" y="20" text-anchor="end">{escape(node["product"])}</text>',
        f'<text class="dim" x="{_MARGIN}" y="{height - 10}">{escape(connection(node))}</text>',
    ]
    if node["mechanism"] == "DevicePlugin":
        told = "which of them is not told by a device plugin"
        inside.append(
            f'<text class="dim" x="{width - _MARGIN}" y="{height - 10}" text-anchor="end">{told}</text>'
        )
    for frame, left, right, over in reversed(row.frames):
        near = " near" if frame["kind"] == "PCIeRoot" else ""
        inside.append(
            f'<rect class="frame{near}" rx="{4 + over // 3}" x="{_MARGIN + left}" y="{top - over}" '
            f'width="{right - left}" height="{_SQUARE + 2 * over}"/>'
        )
    for x, gpu in zip(row.squares, node["gpus"], strict=True):
        inside.append(_square(_MARGIN + x, top, gpu["tag"], _told(gpu), shades, apart))
    return "".join(inside)


def _square(x: int, y: int, tag: str | None, told: str, shades: dict[str, str], apart: set[str]) -> str:
    box = f'x="{x}" y="{y}" width="{_SQUARE}" height="{_SQUARE}" rx="5"'
    title = f"<title>{escape(told)}</title>"
    if tag is None:
        return f'<g>{title}<rect class="free" {box}/></g>'
    broken = (
        f'<rect class="apart" x="{x + 3}" y="{y + 3}" width="{_SQUARE - 6}" height="{_SQUARE - 6}" rx="3"/>'
    )
    middle = x + _SQUARE // 2
    return (
        f'<g>{title}<rect {box} fill="{shades[tag]}"/>{broken if tag in apart else ""}'
        f'<text class="tag" x="{middle}" y="{y + 22}" text-anchor="middle">{tag}</text></g>'
    )


def _told(gpu: Manifest) -> str:
    name = gpu["name"] or "a GPU"
    return f"{name}: {', '.join(gpu['pods']) or 'free'}"


def _legend(document: Manifest, shades: dict[str, str], top: int, width: int) -> tuple[list[str], int]:
    """One colour a model, why some go without, what the marks mean; and where it ends."""
    models = document["models"]
    half = -(-len(models) // 2)
    parts = [
        _entry(model, shades, (number // half) * (width // 2), top + (number % half) * _ENTRY)
        for number, model in enumerate(models)
    ]
    y = top + half * _ENTRY
    for model in models:
        for line in textwrap.wrap(f"{model['key']}: {model['message']}", width // 7) * bool(model["message"]):
            y += _LINE
            parts.append(f'<text class="wrong" x="0" y="{y}">{escape(line)}</text>')
    return [*parts, *_marks(shades[""], y + _LINE)], y + 2 * _LINE


def _entry(model: Manifest, shades: dict[str, str], x: int, y: int) -> str:
    name = f"{model['namespace']}/{model['name']}"
    return (
        f'<g transform="translate({x} {y})">{_square(0, 0, model["key"], name, shades, set())}'
        f'<text class="name" x="46" y="14">{escape(name)}</text>'
        f'<text class="dim" x="46" y="30">{escape(f"{asks(model)}: {got(model)}")}</text></g>'
    )


def _marks(other: str, y: int) -> list[str]:
    box = 'x="1" y="1" width="22" height="16" rx="4"'
    taken = f'<rect {box} fill="{other}"/>'
    marks = (
        (f'<rect class="frame" {box}/>', "NVLink connects these"),
        (f'<rect class="frame near" {box}/>', "one PCIe root"),
        (
            f'{taken}<rect class="apart" x="4" y="4" width="16" height="10" rx="2"/>',
            "split: no NVLink in between",
        ),
        (taken, "another pod's"),
        (f'<rect class="free" {box}/>', "free"),
    )
    parts, x = [], 0
    for mark, meaning in marks:
        text = f'<text class="dim" x="31" y="14">{meaning}</text>'
        parts.append(f'<g transform="translate({x} {y})">{mark}{text}</g>')
        x += 60 + 7 * len(meaning)
    return parts
