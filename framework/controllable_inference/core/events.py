"""What happens to a request, as it happens. Events are values; `to_json` is how they travel.

Order: PathStarted for each path; then any of PathGated, PathClosed, PathPruned, PathStopped, PathFinished,
Leading, Delta; then Vote, the answer's Delta, and Done. Exactly one of Done and Failed ends every request,
and nothing follows it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from controllable_inference.core.request import FinishReason, Result


@dataclass(frozen=True)
class Event:
    type: ClassVar[str] = "event"

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, **asdict(self)}


@dataclass(frozen=True)
class PathStarted(Event):
    type: ClassVar[str] = "path_started"
    path: int


@dataclass(frozen=True)
class PathGated(Event):
    """The controller scored a path at a step boundary, after `tokens` tokens and `steps` steps."""

    type: ClassVar[str] = "path_gated"
    path: int
    score: float
    tokens: int
    steps: int


@dataclass(frozen=True)
class PathPruned(Event):
    type: ClassVar[str] = "path_pruned"
    path: int
    reason: str
    score: float | None
    tokens: int


@dataclass(frozen=True)
class PathStopped(Event):
    """A path was ended with its request: vote settled, deadline passed, or cancelled."""

    type: ClassVar[str] = "path_stopped"
    path: int
    reason: str
    tokens: int


@dataclass(frozen=True)
class PathClosed(Event):
    """A path's thinking was ended by force after `tokens` tokens; it writes its answer next."""

    type: ClassVar[str] = "path_closed"
    path: int
    reason: str
    tokens: int


@dataclass(frozen=True)
class PathFinished(Event):
    type: ClassVar[str] = "path_finished"
    path: int
    reason: str
    answer: str | None
    tokens: int


@dataclass(frozen=True)
class Leading(Event):
    """From here on, reasoning deltas are of this path; the next Delta holds its text so far."""

    type: ClassVar[str] = "leading"
    path: int


@dataclass(frozen=True)
class Delta(Event):
    """More text of a path. Answer deltas, joined, are `Result.content`."""

    type: ClassVar[str] = "delta"
    path: int
    kind: Literal["reasoning", "answer"]
    text: str


@dataclass(frozen=True)
class Vote(Event):
    """weights: voting weight by answer. reason: finished | decided | deadline, or a controller's own."""

    type: ClassVar[str] = "vote"
    answer: str
    confidence: float
    weights: dict[str, float]
    reason: str


@dataclass(frozen=True)
class Done(Event):
    type: ClassVar[str] = "done"
    finish_reason: FinishReason
    result: Result


@dataclass(frozen=True)
class Failed(Event):
    """error: the name of its class in `errors`. message: fit to show to a client."""

    type: ClassVar[str] = "failed"
    error: str
    message: str
