"""How far the paths of one request agree, step by step.

Self-consistency (Wang et al. 2022) asks whether paths come to the same answer; the same can be asked of every
step on the way, long before the answers are there. Steps are compared by their number and their text.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from controllable_inference.core.answer import normalise

AGREEMENT = (
    "step_agreement",  # of the other paths that have reached this step number, those that wrote the same
    "path_agreement",  # mean of step_agreement, as it is by now, over the path's steps so far
    "answer_agreement",  # of the other paths that have finished with an answer, those whose answer the path
    # has come upon as well
    "siblings_seen",  # of the other paths, those that have reached this step number
)
NEUTRAL = 0.5
"""Agreement where there is nobody yet to agree with."""
ALONE = (NEUTRAL, NEUTRAL, NEUTRAL, 0.0)
"""AGREEMENT of a path that is compared with no other."""

_MARKER = re.compile(r"[^\W\d_]+:\s*(?=\S)")
_SO = "so "
# A sign belongs to a number only where it can't be an operator: in "5-3" the last number is 3.
_NUMBER = re.compile(r"(?:(?<![\w)])[-+])?\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?")


@lru_cache(maxsize=4096)  # paths that agree write the same again and again
def canonical(step: str) -> str:
    """What a step says: its text without case, surplus white space, and one leading marker (`check: `)."""
    text = " ".join(step.lower().split())
    marker = _MARKER.match(text)
    return text[marker.end() :] if marker else text


@lru_cache(maxsize=4096)
def conclusions(text: str) -> frozenset[str]:
    """What a canonical step comes to, as keys that `normalise` gives answers.

    What stands after its last `=`; of `so X`, X and X's last number; else its last number; else all of it.
    """
    after = text.rpartition("=")[2].strip()
    numbers = _NUMBER.findall(text)
    if "=" in text and after:
        found = [after]
    elif text.startswith(_SO):
        found = [text.removeprefix(_SO), *numbers[-1:]]
    else:
        found = numbers[-1:] or [text]
    return frozenset(normalise(one) for one in found if one)


class Agreement:
    """What the paths of one request have written so far. Paths may be known by any number.

    Where several paths end a step at the same moment, all of them are to be entered before any is measured.
    Paths that have ended stay in it with what they wrote.
    """

    def __init__(self) -> None:
        self._steps: dict[int, list[str]] = {}
        self._concluded: dict[int, set[str]] = {}
        self._texts: list[Counter[str]] = []  # by step number: how many paths wrote what
        self._reached: list[int] = []  # by step number: how many paths
        self._answers: Counter[str] = Counter()

    def enter(self, path: int, step: str) -> None:
        """A path has ended its next step; `step` is what it wrote."""
        text = canonical(step)
        steps = self._steps.setdefault(path, [])
        if len(steps) == len(self._texts):
            self._texts.append(Counter())
            self._reached.append(0)
        self._texts[len(steps)][text] += 1
        self._reached[len(steps)] += 1
        steps.append(text)
        self._concluded.setdefault(path, set()).update(conclusions(text))

    def finish(self, answer: str) -> None:
        """A path has finished with an answer, given as `normalise` gives it."""
        self._answers[answer] += 1

    def measure(self, path: int, others: int) -> tuple[float, float, float, float]:
        """AGREEMENT of a running path at its latest step; others: how many other paths the request has."""
        by_step = [
            (texts[text] - 1) / (reached - 1) if reached > 1 else NEUTRAL
            for text, texts, reached in zip(self._steps[path], self._texts, self._reached, strict=False)
        ]
        concluded = self._concluded[path]
        finished = self._answers.total()
        shared = sum(count for answer, count in self._answers.items() if answer in concluded)
        return (
            by_step[-1],
            sum(by_step) / len(by_step),
            shared / finished if finished else NEUTRAL,
            (self._reached[len(by_step) - 1] - 1) / others if others else 0.0,
        )
