"""What a RemoteEngine and its child tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controllable_inference.core.config import ControlSettings
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.events import Event
from controllable_inference.core.request import Messages, RequestBudget, SamplingParams
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.metrics import EngineStats

# to the child


@dataclass(frozen=True)
class Load:
    """The first message: what `VllmEngine.load` is to be given."""

    folder: Path
    precision: str
    settings: ControlSettings
    limits: EngineLimits
    adapters: Sequence[DomainAdapter]
    tensor_parallel: int


@dataclass(frozen=True)
class Submit:
    """What `Engine.submit` is to be given. number: names the request from now on."""

    number: int
    prompt: str | Messages
    sampling: SamplingParams
    budget: RequestBudget
    adapter: str | None
    streaming: bool
    counted: bool


@dataclass(frozen=True)
class Cancel:
    number: int


@dataclass(frozen=True)
class Shutdown:
    """The last message."""

    drain_timeout: float


# from the child


@dataclass(frozen=True)
class Loaded:
    """The first answer. error: class of what was raised, "" if the engine is there."""

    think_end: str | None
    error: str = ""
    message: str = ""


@dataclass(frozen=True)
class Refused:
    """A request that was not taken in. field: the one at fault, "" if none is."""

    number: int
    error: str
    message: str
    field: str


@dataclass(frozen=True)
class Happened:
    number: int
    event: Event


@dataclass(frozen=True)
class Measured:
    """For `metrics.Observer`."""

    name: str
    value: float
    labels: dict[str, str]


@dataclass(frozen=True)
class Statistics:
    stats: EngineStats
