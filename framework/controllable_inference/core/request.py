"""What a caller may ask of one request, and what comes back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from controllable_inference.errors import RequestError

Effort = Literal["none", "minimal", "low", "medium", "high"]
Trace = Literal["none", "summary", "full"]
FinishReason = Literal["stop", "length", "cancelled"]
Fate = Literal["kept", "pruned", "stopped", "cancelled"]

EFFORT_COEFFICIENTS: dict[str, float] = {"none": 0.0, "minimal": 0.25, "low": 0.5, "medium": 1.0, "high": 2.0}
"""Budget coefficient of each effort; `none` means fast mode: one path, no thinking segment."""

REASONS = {
    "closed": "a controller's word",
    "consensus": "its trial answers agree",
    "gave_up": "its trial answers never agree",
    "eos": "end of text",
    "stop": "stop string",
    "length": "token cap",
    "gate": "gate",
    "memory": "memory ran out",
    "decided": "the vote was settled",
    "deadline": "the deadline passed",
    "cancelled": "the request was cancelled",
}
"""The engine's and the shipped controller's reasons for the end of a path, for people."""

Messages = list[dict[str, Any]]

MOST_STOP_CHARACTERS = 1000
"""Of all stop strings together: each text that streams is compared with their beginnings at every step."""


def _require(field_name: str, value: Any, rule: str, holds: Callable[[Any], bool]) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or isinstance(value, float)) or not _is_finite(value) or not holds(value):
        raise RequestError(field_name, f"must be {rule}, got {value!r}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float comes near
        return False


def _whole(value: Any) -> bool:
    return isinstance(value, int)


def _count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn.

    `temperature` 0 is greedy (and then one path, for all paths would be equal). `top_k` 0 and `top_p` 1
    filter nothing. What of the three is None is as the model's generation_config.json has it; where that says
    nothing, temperature is 1 and nothing is filtered. `max_tokens` caps each path. Without `seed` every
    request draws a fresh one.

    Raises RequestError with the field's name when a value is out of range.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: Sequence[str] | str = ()

    def __post_init__(self) -> None:
        at = "sampling_parameters."
        rules: dict[str, tuple[str, Callable[[Any], bool]]] = {
            "temperature": ("a number in [0, 2]", lambda v: 0 <= v <= 2),
            "top_p": ("a number in (0, 1]", lambda v: 0 < v <= 1),
            "top_k": ("a whole number, 0 for no limit", lambda v: _whole(v) and v >= 0),
        }
        for name, (rule, holds) in rules.items():
            if getattr(self, name) is not None:
                _require(at + name, getattr(self, name), rule, holds)
        if self.max_tokens is not None:
            _require(
                at + "max_tokens",
                self.max_tokens,
                "a whole number of at least 1",
                _count,
            )
        if self.seed is not None:
            _require(at + "seed", self.seed, "a whole number", _whole)
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop
        if not isinstance(stop, Sequence) or not all(isinstance(s, str) and s for s in stop):
            raise RequestError(at + "stop", f"must be a list of non-empty strings, got {self.stop!r}")
        object.__setattr__(self, "stop", tuple(stop))
        if (length := sum(map(len, self.stop))) > MOST_STOP_CHARACTERS:
            limit = f"must have at most {MOST_STOP_CHARACTERS} characters in all"
            raise RequestError(at + "stop", f"{limit}, got {length}")

    def over(self, defaults: SamplingParams) -> SamplingParams:
        """The same with what is None taken from `defaults`, of temperature, top_p and top_k."""
        names = ("temperature", "top_p", "top_k")
        return replace(self, **{n: getattr(defaults, n) for n in names if getattr(self, n) is None})


@dataclass(frozen=True)
class RequestBudget:
    """How much compute one request may take. Every field is a limit; where several speak, the tightest wins.

    coefficient: in [0, 2]; takes the place of the model's own prediction, as does `effort`.
    paths: how many are started, within what the operator allows; takes the place of what the coefficient
    buys. max_paths: most parallel paths. max_tokens: most tokens of one path, its answer included.
    thinking_tokens: most tokens that one path may think; then it has to answer. 0: no thinking at all.
    deadline: seconds from submission; when it passes, the paths finished by then are voted on at once. If
    none has an answer, the best of them is made to answer, which takes a little longer.
    trace: what is told about the paths: nothing, how each fares, or all their text too. None: as the model is
    set up to (`control.trace` of engine.json; without a word there, a summary).
    """

    coefficient: float | None = None
    max_paths: int | None = None
    max_tokens: int | None = None
    effort: Effort | None = None
    deadline: float | None = None
    trace: Trace | None = None
    thinking_tokens: int | None = None
    paths: int | None = None

    def __post_init__(self) -> None:
        at = "control."
        if self.coefficient is not None:
            _require(at + "coefficient", self.coefficient, "a number in [0, 2]", lambda v: 0 <= v <= 2)
        for name in ("paths", "max_paths", "max_tokens"):
            value = getattr(self, name)
            if value is not None:
                _require(at + name, value, "a whole number of at least 1", _count)
        if self.thinking_tokens is not None:
            rule = "a whole number, 0 for no thinking"
            _require(at + "thinking_tokens", self.thinking_tokens, rule, lambda v: _whole(v) and v >= 0)
        if self.effort is not None and self.effort not in EFFORT_COEFFICIENTS:
            raise RequestError(
                at + "effort", f"must be one of {', '.join(EFFORT_COEFFICIENTS)}, got {self.effort!r}"
            )
        if self.deadline is not None:
            _require(at + "deadline", self.deadline, "a number of seconds greater than 0", lambda v: v > 0)
        if self.trace not in (None, "none", "summary", "full"):
            raise RequestError(at + "trace", f"must be one of none, summary, full, got {self.trace!r}")


@dataclass(frozen=True)
class PathResult:
    """How one path ended.

    fate: kept (ran to its natural end or token cap), pruned (dropped by its score), stopped (ended with the
    request, because the vote was settled or the deadline passed), cancelled.
    reason: eos | stop | length | gate | memory | decided | deadline | cancelled, or a controller's own word.
    detail: the figures behind that word, where the controller told them. `why` is both in words.
    steps: step boundaries it passed while thinking; step_ends: where in `text` each ended.
    score, scores: the controller's, at the latest boundary and at each; None and () if it gave none.
    answer_key: the same for answers that are equal; None for one that can't be compared.
    closed: why its thinking was ended by force (length: its cap), "" if it ended by itself, or not at all.
    """

    index: int
    fate: Fate
    reason: str
    tokens: int
    answer: str | None
    score: float | None
    text: str
    scores: tuple[float, ...] = ()
    steps: int = 0
    step_ends: tuple[int, ...] = ()
    detail: str = ""
    closed: str = ""
    answer_key: str | None = None

    @property
    def step_texts(self) -> tuple[str, ...]:
        """Text of each step; joined with `rest` they are `text`."""
        return tuple(self.text[a:b] for a, b in itertools.pairwise((0, *self.step_ends)))

    @property
    def rest(self) -> str:
        """What follows the last step boundary: an unfinished step, or the end of thinking and the answer."""
        return self.text[self.step_ends[-1] :] if self.step_ends else self.text

    @property
    def why(self) -> str:
        """Why the path ended, for people: "gate: 0.21 ≤ 0.30 after step 4", "the vote was settled"."""
        words = REASONS.get(self.reason, self.reason.replace("_", " "))
        detail = self.detail
        if not detail and self.fate == "pruned" and self.score is not None:
            detail = f"score {self.score:.2f}"
        after = f" after step {self.steps}" if self.fate == "pruned" and self.steps else ""
        closed = REASONS.get(self.closed, self.closed.replace("_", " "))
        by_force = f"; its thinking was ended by force: {closed}" if closed else ""
        return (f"{words}: {detail}" if detail else words) + after + by_force


@dataclass(frozen=True)
class Usage:
    """What one request took. Tokens are counted, seconds are wall-clock from submission.

    completion_tokens: of all paths, with what was written into them. reasoning_tokens: those of them within
    thinking segments. paths_closed: paths whose thinking was ended by force. probe_tokens: those drawn for
    trial answers.

    tokens_saved is an estimate: for each path ended early, max(0, mean length of this request's naturally
    finished paths (the token cap if there is none) - tokens it had used).
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    paths_started: int = 0
    paths_pruned: int = 0
    paths_stopped: int = 0
    paths_finished: int = 0
    paths_closed: int = 0
    probe_tokens: int = 0
    tokens_saved: int = 0
    coefficient: float = 1.0
    limited_by: str = "model"
    confidence: float = 0.0
    queue_seconds: float = 0.0
    time_to_first_token_seconds: float | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """The outcome of one request.

    answer: the voted answer, extracted (what is inside \\boxed{} if anything is).
    content: what a reader is shown: the winning path's text after its thinking segment.
    text: the winning path's whole text. confidence: the winner's share of all voting weight, in [0, 1].
    votes: voting weight by answer.
    Where no path came to its natural end, confidence is 0, finish_reason is length, and the others are what
    the first path with something to show had come to, or "".
    """

    answer: str
    text: str
    confidence: float
    content: str = ""
    finish_reason: FinishReason = "stop"
    paths: list[PathResult] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    votes: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
