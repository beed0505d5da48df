"""Paths as a tree: what they have in common is there once, and they branch where they first differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from controllable_inference.explain.explanation import ExplainedPath
from controllable_inference.explain.plain import one_line


@dataclass(eq=False)
class End:
    """Paths that end behind the same step in the same way, with the same answer or for the same reason."""

    paths: list[ExplainedPath]

    @property
    def first(self) -> ExplainedPath:
        return self.paths[0]


@dataclass(eq=False)
class Node:
    """One step of one or more paths; the root is none.

    scores: of the paths here, in the order of `paths`. folded: the steps that this node stands for, where it
    stands for several, as (text, mean score).
    """

    text: str = ""
    paths: list[ExplainedPath] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    children: list[Node | End] = field(default_factory=list)
    folded: list[tuple[str, float | None]] = field(default_factory=list)

    @property
    def score(self) -> float | None:
        return sum(self.scores) / len(self.scores) if self.scores else None


def tree_of(paths: Sequence[ExplainedPath]) -> Node:
    """Prefix tree of the paths' steps, equal up to white space; children in the order they first come up."""
    root = Node(paths=list(paths))
    for path in paths:
        node = root
        for step in path.steps:
            text = one_line(step.text)
            steps = [child for child in node.children if isinstance(child, Node)]
            here = next((child for child in steps if child.text == text), None)
            if here is None:
                here = Node(text)
                node.children.append(here)
            here.paths.append(path)
            here.scores += [] if step.score is None else [step.score]
            node = here
        ends = [child for child in node.children if isinstance(child, End)]
        same = next((end for end in ends if _alike(end.first, path)), None)
        if same is None:
            node.children.append(End([path]))
        else:
            same.paths.append(path)
    return root


def _alike(one: ExplainedPath, other: ExplainedPath) -> bool:
    return (one.fate, one.reason, one.answer) == (other.fate, other.reason, other.answer)


def fold(node: Node, longest: int, keep: int = 2) -> Node:
    """Let one node stand for the middle of each unbranched run of more than `longest` steps.

    `keep` steps stay at both ends of the run.
    """
    run = list(_run(node))
    if len(run) > max(longest, 2 * keep + 1):
        hidden = run[keep:-keep]
        standing = Node(
            text=f"… {len(hidden)} steps …",
            paths=hidden[0].paths,
            scores=hidden[-1].scores,
            children=[run[-keep]],
            folded=[(step.text, step.score) for step in hidden],
        )
        run[keep - 1].children = [standing]
    for child in run[-1].children if run else node.children:
        if isinstance(child, Node):
            fold(child, longest, keep)
    return node


def _run(node: Node) -> Iterator[Node]:
    """The node and those below it, as long as there is one way only; nothing for a root."""
    if not node.text and not node.folded and len(node.children) != 1:
        return
    while True:
        yield node
        if len(node.children) != 1 or not isinstance(node.children[0], Node):
            return
        node = node.children[0]


def ends_below(node: Node | End) -> list[End]:
    """In the order in which they are drawn."""
    found, ahead = [], [node]
    while ahead:
        here = ahead.pop()
        if isinstance(here, End):
            found.append(here)
        else:
            ahead += reversed(here.children)
    return found
