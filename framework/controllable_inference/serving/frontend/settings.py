"""What the frontend is told."""

from dataclasses import dataclass, field

from controllable_inference.core.request import Trace
from controllable_inference.serving.config import AdapterSection
from controllable_inference.serving.triton import Ports


@dataclass(frozen=True)
class FrontendSettings:
    """Addresses and limits. Times are in seconds, sizes in bytes.

    adapters: of the model; a request asks for one by giving its name as the model's.
    trace: the most that a request may be told about its paths, and what it is told unless it says less.
    silence: longest gap between two responses of Triton. Its model gives a sign of life every 2 s if the
    engine has made a step meanwhile, so this also bounds a step (a big model's prompt on a CPU, for example).
    canary_timeout: how long the health request may take; canary_age: how long its verdict is shared.
    lame_duck: how long a server that was told to stop takes requests; drain: how long they may then go on.
    loading: how long an unreachable Triton counts as loading its model, and not as dead.
    """

    model: str
    adapters: tuple[AdapterSection, ...] = ()
    trace: Trace = "summary"
    host: str = "0.0.0.0"  # noqa: S104 - it is what the pod serves
    port: int = 8080
    triton: Ports = field(default_factory=Ports)
    body_limit: int = 4 * 1024 * 1024
    silence: float = 30.0
    canary_timeout: float = 4.0
    canary_age: float = 2.0
    loading: float = 1800.0
    lame_duck: float = 0.0
    drain: float = 60.0
