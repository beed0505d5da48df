"""Where the boxes of a tree go. Pure: a tree in, rectangles and lines out."""

from __future__ import annotations

from dataclasses import dataclass

from controllable_inference.explain.plain import cut, listed, width
from controllable_inference.explain.tree import End, Node

COLUMN, ROW = 206, 44  # from one box to the next
BOX, HEIGHT = 174, 34  # of a step's box
CHARACTERS = 21  # that fit into it
ROOT = 96
END_CHARACTERS = 46
MARGIN = 12


@dataclass(frozen=True)
class Box:
    """A rectangle for one node, and the lines of text in it. parent: the box it hangs on, by number."""

    x: float
    y: float
    width: float
    height: float
    node: Node | End
    lines: tuple[str, ...]
    parent: int | None

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Layout:
    """boxes: each after its parent, the root first."""

    width: float
    height: float
    boxes: tuple[Box, ...]


def layout(root: Node) -> Layout:
    """Steps in columns from left to right, each way a path ended on a row of its own.

    A box is in the middle of what hangs on it. As the rows below a node are its own, boxes of one column
    are a row apart at least, and what stands right of a path's end is empty.
    """
    boxes: list[Box] = []
    rows = 0

    def place(node: Node | End, column: int, parent: int | None) -> float:
        """Returns the row."""
        nonlocal rows
        number = len(boxes)
        x = MARGIN + (column and ROOT - BOX + column * COLUMN)
        lines = _lines(node) if column else (_counted(len(node.paths)),)
        across = _across(node, lines) if column else ROOT
        boxes.append(Box(x, 0, across, HEIGHT, node, lines, parent))
        if isinstance(node, Node) and node.children:
            below = []
            for child in node.children:
                below.append(place(child, column + 1, number))
            row = (below[0] + below[-1]) / 2
        else:
            row, rows = float(rows), rows + 1
        boxes[number] = Box(x, MARGIN + row * ROW, across, HEIGHT, node, lines, parent)
        return row

    place(root, 0, None)
    return Layout(
        max(box.x + box.width for box in boxes) + MARGIN,
        rows * ROW - (ROW - HEIGHT) + 2 * MARGIN,
        tuple(boxes),
    )


def _lines(node: Node | End) -> tuple[str, ...]:
    if isinstance(node, Node):
        return (cut(node.text, CHARACTERS) or "(blank)",)
    first = node.first
    numbers = listed(tuple(path.index for path in node.paths))
    name = f"{'path' if len(node.paths) == 1 else 'paths'} {numbers}"
    if first.fate == "kept":
        said = "no answer" if first.answer is None else f"→ {cut(first.answer, 24)}"
        return (cut(f"{name} {said}", END_CHARACTERS), cut(first.why, END_CHARACTERS))
    whys = {path.why for path in node.paths}
    why = whys.pop() if len(whys) == 1 else first.reason
    return (cut(f"{name} {first.fate}", END_CHARACTERS), cut(why, END_CHARACTERS))


def _across(node: Node | End, lines: tuple[str, ...]) -> float:
    """Wide enough for its lines in any common font; the first may be bold, the second is small."""
    if isinstance(node, Node):
        return BOX
    return max(7.6 * width(lines[0]), 6.4 * width(lines[1])) + 22


def _counted(paths: int) -> str:
    return f"{paths} path{'' if paths == 1 else 's'}"
