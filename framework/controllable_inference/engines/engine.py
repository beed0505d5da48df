"""An engine as others see it: submit requests from any thread, get events; one thread owns the model.

What computes is an `EngineCore` beneath it: the native one, or vLLM.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from controllable_inference.core.checks import check_controller
from controllable_inference.core.controller import Controller
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.equality import AnswerClasses
from controllable_inference.core.events import Done, Event, Failed
from controllable_inference.core.request import Messages, RequestBudget, SamplingParams
from controllable_inference.engines.adapters.attached import Attached
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.metrics import EngineStats, Metrics, Observer
from controllable_inference.engines.output_processor import OutputProcessor
from controllable_inference.engines.path import PathGroup
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import (
    ControllableError,
    EngineBusy,
    EngineClosed,
    EngineDead,
    QueueFull,
    RequestError,
)

log = logging.getLogger(__name__)


class EngineCore(Protocol):
    """What computes. It is made and used by the engine's thread alone, but for `blocks` and `steps`."""

    outputs: OutputProcessor
    steps: int
    """How many it has made."""

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of the KV cache that are in use, and that are free."""

    def add(self, group: PathGroup) -> None:
        """Queue a request."""

    def step(self) -> None:
        """One forward pass, and all that comes of it."""

    def report_gauges(self) -> None:
        """Tell how many requests and blocks there are now."""


class RequestHandle:
    def __init__(self, engine: Engine, group: PathGroup) -> None:
        self._engine = engine
        self._group = group
        self.id = group.id

    def cancel(self) -> None:
        """From any thread, at any time; the request ends with Done("cancelled") unless it has ended."""
        self._engine._commands.put(("cancel", self._group))


class Engine(ABC):
    """sampling: what a request is sampled by as far as it says nothing itself. room: most positions of one
    path, its prompt included.
    """

    def __init__(
        self,
        prompts: PromptRenderer,
        vocabulary: Vocabulary,
        controller: Controller,
        limits: EngineLimits,
        sampling: SamplingParams,
        room: int,
        observer: Observer | None = None,
    ) -> None:
        self.prompts = prompts
        self.vocabulary = vocabulary
        self.controller = controller
        self.limits = limits
        self.sampling = sampling
        self.room = room
        self.metrics = Metrics(observer)
        self._lock = threading.Lock()
        self._gate = threading.Lock()  # who holds it keeps commands from being taken in
        self._in_flight: dict[int, PathGroup] = {}
        self._thread: threading.Thread | None = None
        self._begin()

    def _begin(self) -> None:
        self._core = self._new_core()
        self._commands: queue.SimpleQueue[tuple[str, PathGroup | None]] = queue.SimpleQueue()
        self._closing_at: float | None = None
        self._error: BaseException | None = None

    @abstractmethod
    def _new_core(self) -> EngineCore:
        """A core with empty queue and cache; after an error it takes the place of the one that failed."""

    @abstractmethod
    def _free(self) -> None:
        """Free what outlives a core, when the engine is shut down."""

    @abstractmethod
    def adapter(self, domain: str) -> Attached:
        """The adapter of that domain. Raises RequestError where none was added."""

    @abstractmethod
    def add_adapter(self, adapter: DomainAdapter) -> None:
        """Raises AdapterError, EngineBusy while requests run or wait."""

    # for any thread

    @property
    def alive(self) -> bool:
        """Whether it can take requests: neither dead nor shut down."""
        return not self.is_dead and self._closing_at is None

    @property
    def is_dead(self) -> bool:
        """Whether an error has ended it."""
        return self._error is not None

    def submit(
        self,
        prompt: str | Messages,
        sampling: SamplingParams | None = None,
        budget: RequestBudget | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        *,
        controller: Controller | None = None,
        adapter: str | None = None,
        streaming: bool = True,
        counted: bool = True,
    ) -> RequestHandle:
        """Queue a request. `on_event` is called from the engine's thread; the last event is Done or Failed.

        streaming False leaves out Leading and Delta of running paths. `controller` takes the engine's own's
        place. adapter: domain of an adapter that was added. counted: whether metrics tell of it; a probe is
        nobody's request. Raises RequestError, ControllerError, QueueFull, EngineDead, EngineClosed.
        """
        sampling, budget = (sampling or SamplingParams()).over(self.sampling), budget or RequestBudget()
        controller = controller or self.controller
        traits = check_controller(controller)
        if budget.thinking_tokens and self.vocabulary.think_end and self.vocabulary.closing is None:
            why = "can't be kept: it is not known how this model begins to think; a control.json would say"
            raise RequestError("control.thinking_tokens", why)
        attached = None if adapter is None else self.adapter(adapter)
        ids = (attached.prompts if attached else self.prompts).encode(prompt, self.room)
        if len(ids.slow) >= self.room:
            message = f"has {len(ids.slow)} tokens, of {self.room} that fit; one must be left to generate"
            raise RequestError("prompt", message)
        if len(ids.fast) >= self.room:
            ids = ids._replace(fast=ids.slow)
        group = PathGroup(
            ids,
            sampling,
            budget,
            controller,
            traits,
            on_event,
            streaming,
            secrets.randbits(63) if sampling.seed is None else sampling.seed,
            time.monotonic(),
            min(traits.most_paths, budget.max_paths or traits.most_paths, self.limits.max_rows),
            counted,
            answers=AnswerClasses(self.vocabulary.equality),
            adapter=attached,
        )
        group.on_event = lambda event: self._pass_on(group.id, event, on_event)
        with self._lock:
            self._check_open()
            limit = self.limits.max_concurrent_requests + self.limits.queue_size
            if len(self._in_flight) >= limit:
                self.metrics.count("controllable_requests_total", outcome="rejected")
                raise QueueFull(f"{limit} requests are running or waiting already; try again later")
            self._in_flight[group.id] = group
            self._commands.put(("add", group))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
        return RequestHandle(self, group)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Requests submitted within are all taken in before the same step.

        The last digits of a row depend on how many are computed beside it. Where those shall be the same
        every time, it must not be left to the timing of threads how many of the requests a step has found.
        """
        with self._gate:
            yield

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Keep the engine from taking requests, to change its model or copy its tokenizer in the meantime.

        Raises EngineBusy while it has any, EngineDead, EngineClosed.
        """
        with self._lock, self.prompts.lock:
            self._check_open()
            if self._in_flight:
                raise EngineBusy(f"{len(self._in_flight)} requests are in the engine; try when it has none")
            yield

    def stats(self) -> EngineStats:
        core = self._core
        running = len(core.outputs.rows.running)
        waiting = max(0, len(self._in_flight) - running)
        return EngineStats(self.alive, running, waiting, *core.blocks, core.steps, dict(self.metrics.totals))

    def restart(self) -> None:
        """Begin again after EngineDead, with empty queue and cache. Does nothing to a living engine.

        Nor to one that can't begin again in this process, whose process has to.
        """
        with self._lock:
            if self._error is not None and self._can_restart():
                self._thread = None
                self._begin()

    def _can_restart(self) -> bool:
        return True

    def shutdown(self, drain_timeout: float = 0.0) -> None:
        """Take no more requests, give those in flight `drain_timeout` seconds, then cancel them."""
        with self._lock:
            if self._closing_at is None:
                self._closing_at = time.monotonic() + drain_timeout
            thread = self._thread
        self._commands.put(("wake", None))
        if thread is threading.current_thread():
            return
        if thread is not None:
            thread.join()
        self._free()

    def _check_open(self) -> None:
        if self._error is not None:
            raise EngineDead(f"the engine ended by {self._error!r}; restart it") from self._error
        if self._closing_at is not None:
            raise EngineClosed("the engine is shutting down")

    def _pass_on(self, id_: int, event: Event, on_event: Callable[[Event], None]) -> None:
        if isinstance(event, Done | Failed):
            with self._lock:
                self._in_flight.pop(id_, None)
        on_event(event)

    # the engine's thread

    def _run(self) -> None:
        core = self._core
        try:
            while True:
                self._obey(core)
                if self._closing_at is not None:
                    if time.monotonic() >= self._closing_at:
                        for group in core.outputs.groups:
                            core.outputs.cancel(group)
                    if not core.outputs.groups and self._commands.empty():
                        return
                if core.outputs.groups:
                    core.step()
        except BaseException as error:
            self._die(error)

    def _obey(self, core: EngineCore) -> None:
        """Carry out commands; with nothing to compute, wait for one."""
        wait = not core.outputs.groups and self._closing_at is None
        while wait or not self._commands.empty():
            what, group = self._commands.get()
            with self._gate:  # those that come together with it are there, too
                wait = False
            if what == "add" and group is not None:
                core.add(group)
            elif what == "cancel" and group is not None:
                core.outputs.cancel(group)
                core.report_gauges()  # there may be no next step to do it

    def _die(self, error: BaseException) -> None:
        log.critical("the engine's thread ended by an unexpected error", exc_info=error)
        with self._lock:
            self._error = error
            lost, self._in_flight = list(self._in_flight.values()), {}
        why = f": {error}" if isinstance(error, ControllableError) else ""
        message = f"the engine ended by {type(error).__name__}{why}; try again"
        for group in lost:
            self.metrics.count("controllable_requests_total", outcome="failed")
            try:
                group.on_event(Failed("EngineDead", message))
            except Exception:
                log.exception("the receiver of request %d's events failed", group.id)
