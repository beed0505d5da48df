"""The Triton model without Triton: takes decoded tensors and a channel back, runs the engine between them."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.events import Event
from controllable_inference.core.request import Messages, RequestBudget, SamplingParams
from controllable_inference.engines.metrics import EngineStats, Observer
from controllable_inference.errors import AdapterError, ControllableError, RequestError
from controllable_inference.serving.config import AdapterSection, EngineConfig, load_engine_config
from controllable_inference.serving.engine_metrics import BufferedObserver, MakeSeries
from controllable_inference.serving.pump import Channel, Handle, ResponsePump
from controllable_inference.serving.refusals import refusal
from controllable_inference.serving.termination import write_termination_log
from controllable_inference.serving.triton_request import parse_triton_request
from controllable_inference.serving.triton_response import ResponseBuilder

log = logging.getLogger(__name__)


class ServedEngine(Protocol):
    """The engine as serving uses it."""

    @property
    def alive(self) -> bool: ...

    def submit(
        self,
        prompt: str | Messages,
        sampling: SamplingParams,
        budget: RequestBudget,
        on_event: Callable[[Event], None],
        *,
        adapter: str | None,
        streaming: bool,
        counted: bool,
    ) -> Handle: ...

    def stats(self) -> EngineStats: ...
    def restart(self) -> None: ...
    def shutdown(self, drain_timeout: float) -> None: ...


BuildEngine = Callable[[EngineConfig, Observer], tuple[ServedEngine, str | None]]
"""Makes the engine, and tells what ends its model's thinking."""


def build_engine(config: EngineConfig, observer: Observer) -> tuple[ServedEngine, str | None]:
    """Load the model that engine.json names, with its limits and adapters.

    Raises ModelNotFound, ModelLoadError, ControlConfigError; AdapterError, which names the adapter.
    """
    from controllable_inference.core.config import ControlSettings
    from controllable_inference.engines.limits import EngineLimits
    from controllable_inference.engines.vllm import remote
    from controllable_inference.model import ControllableInference

    settings = ControlSettings.parse(config.to_json()["control"])
    limits = EngineLimits(
        max_concurrent_requests=config.serving.max_concurrent_requests,
        queue_size=config.serving.queue.size,
        queue_timeout=config.serving.queue.timeout_seconds,
    )
    wanted = config.model
    adapters = [_adapter(section) for section in wanted.adapters]
    if wanted.engine == "vllm" or (wanted.engine == "auto" and remote.is_for_this_machine()):
        on_vllm = remote.RemoteEngine(
            Path(wanted.path),
            wanted.precision,
            settings,
            limits=limits,
            adapters=adapters,
            observer=observer,
            tensor_parallel=wanted.tensor_parallel,
        )
        return on_vllm, on_vllm.think_end
    model = ControllableInference.from_pretrained(
        wanted.path,
        precision=wanted.precision,
        control=settings,
        limits=limits,
        adapters=adapters,
        observer=observer,
        tensor_parallel=wanted.tensor_parallel,
        engine="native",
    )
    return model.engine, model.engine.vocabulary.think_end


def _adapter(section: AdapterSection) -> DomainAdapter:
    try:
        return DomainAdapter(section.name, section.special_tokens, float(section.budget_scale), section.path)
    except AdapterError as error:
        raise AdapterError(f"adapter {section.name}: {error}") from error


class ServedModel:
    """One engine kept alive, and the requests on their way through it."""

    def __init__(self, config: EngineConfig, build: BuildEngine, make_series: MakeSeries) -> None:
        self._config = config
        self._observer = BufferedObserver(make_series)
        self._engine, self._think_end = build(config, self._observer)
        self._closing = False
        self._given_up = False
        self._pump = ResponsePump(self._look_after)

    @classmethod
    def from_environment(cls, make_series: MakeSeries, build: BuildEngine = build_engine) -> "ServedModel":
        """The model that CONTROLLABLE_ENGINE_CONFIG describes; a failure also goes to the termination log."""
        try:
            return cls(load_engine_config(), build, make_series)
        except Exception as error:
            foreign = "" if isinstance(error, ControllableError) else f"{type(error).__name__}: "
            write_termination_log("ModelLoadFailed", f"{foreign}{error}")
            raise

    def accept(self, tensors: Mapping[str, Any], parameters: Mapping[str, Any], channel: Channel) -> None:
        """Take one request in. Whatever comes of it goes through the channel; never raises."""
        try:
            self._accept(tensors, parameters, channel)
        except Exception:
            log.exception("a request could not be taken in")
            with contextlib.suppress(Exception):  # where it is the channel that is broken
                channel.fail("INTERNAL", "server: could not take the request in")

    def _accept(self, tensors: Mapping[str, Any], parameters: Mapping[str, Any], channel: Channel) -> None:
        try:
            request = parse_triton_request(tensors, parameters, self._config.control.trace)
        except RequestError as error:
            channel.fail(*refusal("RequestError", str(error)))
            return
        builder = ResponseBuilder(request.stream, request.budget.trace, self._think_end)
        stream = self._pump.open(channel, builder, request.heartbeat)
        try:
            stream.handle = self._engine.submit(
                request.prompt,
                request.sampling,
                request.budget,
                stream,
                adapter=request.adapter,
                streaming=builder.needs_deltas,
                counted=not request.probe,
            )
        except RequestError as error:
            named = RequestError(
                request.prompt_field if error.field == "prompt" else error.field, error.message
            )
            stream.fail(*refusal("RequestError", str(named)))
        except ControllableError as error:
            stream.fail(*refusal(type(error).__name__, str(error)))
        except Exception:
            log.exception("the engine could not take a request in")
            stream.fail("INTERNAL", "engine: could not take the request in")

    def close(self) -> None:
        """Let open requests finish within the drain timeout, end the rest, stop every thread."""
        self._closing = True
        self._engine.shutdown(self._config.serving.drain_timeout_seconds)
        self._pump.close()
        self._observer.close()

    def _look_after(self) -> int:
        self._observer.flush()
        if not (self._engine.alive or self._closing or self._given_up):
            # The requests it had in flight were told by the engine itself, as the last thing it did.
            log.error("the engine's thread died; starting it again")
            self._engine.restart()
            if not self._engine.alive:
                self._given_up = True
                log.critical("it can't start again in this process; whoever watches over that has to end it")
        return self._engine.stats().steps
