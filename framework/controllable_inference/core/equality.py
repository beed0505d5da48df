"""When are two answers the same? A vote, a verifier and an evaluation ask this alike, by one of these names.

| name | equal are |
|---|---|
| `exact` | the same characters |
| `number` | numbers of the same value; other text without case and surplus white space |
| `math` | expressions of the same value (math-verify): fractions, LaTeX, units, tuples, `x=5` and `5` |
| `choice` | the same letter, as of a multiple choice |
| `code` | programs of the same syntax, in Python; else the same characters |
| `none` | no two answers: the best path by its score wins, and no rule that counts votes applies |

Others are plug-ins: entry points of the group `controllable_inference.equality`, each an `AnswerEquality` or
what makes one when it is called.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

from controllable_inference.core.answer import final_answer, normalise
from controllable_inference.errors import ControlConfigError

log = logging.getLogger(__name__)

GROUP = "controllable_inference.equality"


class AnswerEquality(Protocol):
    def extract(self, said: str) -> str | None:
        """The answer in what a path says behind its thinking; None if there is none."""

    def key(self, answer: str) -> str | None:
        """A key under which answers meet that are equal at a glance; None for one that equals no other."""

    def equal(self, one: str, other: str) -> bool:
        """Whether answers with different keys are equal all the same. May take long: it is asked elsewhere
        and not waited for beyond a limit (`bounded`).
        """


class Exact:
    def extract(self, said: str) -> str | None:
        return final_answer(said)

    def key(self, answer: str) -> str | None:
        return answer.strip()

    def equal(self, one: str, other: str) -> bool:
        return False


class Number(Exact):
    def key(self, answer: str) -> str | None:
        return normalise(answer)


class Choice(Exact):
    _LETTER = re.compile(r"\b([A-Z])\b")

    def extract(self, said: str) -> str | None:
        answer = final_answer(said)
        letters = self._LETTER.findall((answer or "").strip("()[] ."))
        return letters[0] if letters else answer

    def key(self, answer: str) -> str | None:
        return answer.strip("()[]{}. ").upper()


class Code(Exact):
    _BLOCK = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)

    def extract(self, said: str) -> str | None:
        blocks = self._BLOCK.findall(said)
        return (blocks[-1] if blocks else said).strip() or None

    def key(self, answer: str) -> str | None:
        try:
            return ast.dump(ast.parse(answer))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return answer.strip()


class Incomparable(Exact):
    def key(self, answer: str) -> str | None:
        return None


def _math() -> AnswerEquality:
    from controllable_inference.core.maths import Maths

    return Maths()


_KNOWN: dict[str, Callable[[], AnswerEquality]] = {
    "exact": Exact,
    "number": Number,
    "math": _math,
    "choice": Choice,
    "code": Code,
    "none": Incomparable,
}


@cache
def equality_of(name: str) -> AnswerEquality:
    """Raises ControlConfigError for a name that nobody has, and for a plug-in that can't be loaded."""
    if name in _KNOWN:
        return _KNOWN[name]()
    plug_ins = {found.name: found for found in entry_points(group=GROUP)}
    if name not in plug_ins:
        known = ", ".join([*_KNOWN, *sorted(plug_ins)])
        raise ControlConfigError(f"equality: there is no {name!r}; known are {known}")
    try:
        plug_in = plug_ins[name].load()
        return plug_in() if callable(plug_in) else plug_in
    except Exception as error:
        raise ControlConfigError(f"equality: {name!r} of {plug_ins[name].value}: {error!r}") from error


class AnswerClasses:
    """The different answers of one request: each has the key of the first one that it equals.

    failures: answers that an equality could not compare, because it raised or took too long. They are
    compared by their characters instead.
    """

    def __init__(self, name: str, ask: Callable[[str, str, str], bool | None] | None = None) -> None:
        """ask: `bounded.ask`, or what says the same."""
        self.failures = 0
        self._name = name
        self._equality = equality_of(name)
        self._ask = ask
        self._keys: dict[str, str | None] = {}
        self._first: dict[str, str] = {}
        self._odd: set[str] = set()

    def extract(self, said: str) -> str | None:
        try:
            return self._equality.extract(said)
        except Exception as error:
            self._failed("extract", error)
            return final_answer(said)

    def key(self, answer: str) -> str | None:
        if answer not in self._keys:
            self._keys[answer] = self._key(answer)
        return self._keys[answer]

    def _key(self, answer: str) -> str | None:
        try:
            key = self._equality.key(answer)
        except Exception as error:
            self._failed("key", error)
            key = answer
        if key is None or key in self._first:
            return key
        for known, first in self._first.items():
            if self._equal(first, answer):
                return known
        self._first[key] = answer
        return key

    def _equal(self, one: str, other: str) -> bool:
        if type(self._equality).equal is Exact.equal or self._odd & {one, other}:
            return False
        if self._ask is None:
            from controllable_inference.core.bounded import ask

            self._ask = ask
        equal = self._ask(self._name, one, other)
        if equal is None:
            self.failures += 1
            self._odd.add(other)
        return bool(equal)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures += 1
        log.warning("%s of equality %s raised %r; the text itself is taken", what, self._name, error)
