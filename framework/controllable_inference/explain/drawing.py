"""The tree of paths as SVG."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from controllable_inference.explain.explanation import Explanation
from controllable_inference.explain.layout import BOX, ROOT, Box, Layout, layout
from controllable_inference.explain.plain import listed
from controllable_inference.explain.tree import End, Node, ends_below, fold, tree_of

MOST_COLUMNS = 14
"""Beyond this depth, long unbranched runs of steps are folded."""
LONGEST_RUN = 6
_BAR = 88


def picture_of(explanation: Explanation) -> str:
    """A file of its own."""
    tree = drawn(explanation)
    style = (files(__package__) / "tree.css").read_text("utf-8")
    return tree.replace(
        ">", f"><style>{style}</style>" + '<rect class="ground" width="100%" height="100%"/>', 1
    )


def drawn(explanation: Explanation, links: bool = False) -> str:
    """The svg element, without its style. links: from the end of each path to `#path-N`."""
    root = _tree(explanation)
    place = layout(root)
    ends = {end: number for number, end in enumerate(ends_below(root))}
    parts = [_edge(place, box, ends) for box in place.boxes if box.parent is not None]
    parts += [_box(box, ends, links) for box in place.boxes]
    across, down = f"{place.width:.0f}", f"{place.height:.0f}"
    title = f"Tree of {len(explanation.paths)} paths and their steps, from left to right"
    return (
        f'<svg class="tree" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" '
        f'width="{across}" height="{down}" role="group" aria-label="{title}">\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def highlights(explanation: Explanation) -> str:
    """Style rules: whoever points at the end of a path sees the way that led there, the rest fades."""
    count = len(ends_below(_tree(explanation)))
    return "\n".join(
        f".tree:has(.end-{n}:is(:hover, :focus-within)) :is(.box, .edge):not(.via-{n}) {{ opacity: .2 }}"
        for n in range(count)
    )


def _tree(explanation: Explanation) -> Node:
    root = tree_of(explanation.paths)
    if max((len(path.steps) for path in explanation.paths), default=0) > MOST_COLUMNS:
        fold(root, LONGEST_RUN)
    return root


def _edge(place: Layout, box: Box, ends: dict[End, int]) -> str:
    assert box.parent is not None
    parent = place.boxes[box.parent]
    x1, y1, x2, y2 = parent.x + parent.width, parent.middle, box.x, box.middle
    half = (x1 + x2) / 2
    weight = 1.2 + 0.45 * (len(box.node.paths) - 1) ** 0.7
    return (
        f'<path class="edge {_kind(box.node, ends)}" stroke-width="{min(weight, 5):.1f}" '
        f'd="M{x1:g} {y1:g}C{half:g} {y1:g} {half:g} {y2:g} {x2:g} {y2:g}"/>'
    )


def _box(box: Box, ends: dict[End, int], links: bool) -> str:
    node = box.node
    inside = [
        f"<title>{escape(_whole(node))}</title>",
        f'<rect rx="7" width="{box.width:g}" height="{box.height:g}"/>',
    ]
    if isinstance(node, End):
        inside += [
            f'<text x="11" y="{y}"{style}>{escape(line)}</text>'
            for line, y, style in zip(box.lines, (14.5, 27.5), ("", ' class="dim"'), strict=False)
        ]
        if links:
            to = f"path-{node.first.index}"
            inside = [f'<a href="#{to}" aria-label="{escape(" ".join(box.lines))}">', *inside, "</a>"]
    elif box.parent is None:
        inside.append(f'<text x="{ROOT / 2:g}" y="21" text-anchor="middle">{escape(box.lines[0])}</text>')
    else:
        inside.append(f'<text class="step" x="9" y="15">{escape(box.lines[0])}</text>')
        inside += _scored(node)
    name = f"end end-{ends[node]}" if isinstance(node, End) else "root" if box.parent is None else "node"
    classes = f"box {name} {_kind(node, ends)}"
    return f'<g class="{classes}" transform="translate({box.x:g} {box.y:g})">{"".join(inside)}</g>'


def _scored(node: Node) -> list[str]:
    """Bar and figure of a step's score; the line of scores of a folded run; how many paths go through."""
    parts = []
    if node.folded:
        scores = _thinned([score for _, score in node.folded if score is not None])
        if len(scores) > 1:
            points = " ".join(
                f"{9 + at * _BAR / (len(scores) - 1):.1f},{30 - 10 * score:.1f}"
                for at, score in enumerate(scores)
            )
            parts.append(f'<polyline class="line" points="{points}"/>')
    elif node.score is not None:
        share = f"{100 * node.score:.0f}%"
        colour = f"color-mix(in oklab, var(--high) {share}, var(--low))"
        parts.append(f'<rect class="track" x="9" y="23" rx="2" width="{_BAR}" height="4"/>')
        parts.append(
            f'<rect class="bar" x="9" y="23" rx="2" width="{max(2, node.score * _BAR):.1f}" height="4" '
            f'style="fill: var(--high); fill: {colour}"/>'
        )
    if node.score is not None:
        parts.append(f'<text class="figure" x="{BOX - 9}" y="28" text-anchor="end">{node.score:.2f}</text>')
    if len(node.paths) > 1:
        parts.append(f'<text class="figure" x="{_BAR + 15}" y="28">×{len(node.paths)}</text>')
    return parts


def _thinned(scores: list[float], most: int = 30) -> list[float]:
    """As many means of neighbours as a small line can show."""
    each = -(-len(scores) // most) or 1
    parts = [scores[at : at + each] for at in range(0, len(scores), each)]
    return [sum(part) / len(part) for part in parts]


def _kind(node: Node | End, ends: dict[End, int]) -> str:
    """Classes by what became of the paths here, best first, and by the ends that lie this way."""
    here = node.paths
    if any(path.wins for path in here):
        kind = "wins"
    elif any(path.fate == "kept" for path in here):
        kind = "kept"
    elif any(path.fate == "pruned" for path in here) and not any(path.fate != "pruned" for path in here):
        kind = "pruned"
    else:
        kind = "stopped"
    return " ".join([kind, *(f"via-{ends[end]}" for end in ends_below(node))])


def _whole(node: Node | End) -> str:
    """What a pointer that rests on a box is told."""
    if isinstance(node, End):
        lines = [f"path {path.index}: {path.fate}, {path.tokens} tokens; {path.why}" for path in node.paths]
        if node.first.rest.strip():
            lines += ["", node.first.rest.strip()]
        return "\n".join(lines)
    if node.folded:
        return "\n".join(text if score is None else f"{score:.2f}  {text}" for text, score in node.folded)
    scores = [f"path {path.index}: {score:.2f}" for path, score in zip(node.paths, node.scores, strict=False)]
    if not node.text and not scores:
        return f"paths {listed(tuple(path.index for path in node.paths))}"
    return "\n".join([node.text or "(blank)", *scores])
