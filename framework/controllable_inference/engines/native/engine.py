"""The engine as others see it: submit requests from any thread, get events; one thread owns the model."""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from controllable_inference.core.checks import check_controller
from controllable_inference.core.controller import Controller
from controllable_inference.core.equality import AnswerClasses
from controllable_inference.core.events import Done, Event, Failed
from controllable_inference.core.request import Messages, RequestBudget, SamplingParams
from controllable_inference.engines.adapters.attached import Adapters
from controllable_inference.engines.metrics import EngineStats, Metrics, Observer
from controllable_inference.engines.native.block_manager import BlockManager
from controllable_inference.engines.native.engine_core import EngineCore
from controllable_inference.engines.native.kv_cache import KVCache, block_bytes
from controllable_inference.engines.native.model_runner import ModelRunner
from controllable_inference.engines.native.scheduler import Scheduler
from controllable_inference.engines.native.tensor_parallel import Ranks
from controllable_inference.engines.path import PathGroup
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import (
    ControllableError,
    EngineBusy,
    EngineClosed,
    EngineConfigError,
    EngineDead,
    QueueFull,
    RequestError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineConfig:
    """Limits of one engine.

    max_rows: most paths computed in one step. max_step_tokens: most tokens of one step, prompts included.
    kv_blocks: blocks of the KV cache, None for as many as a quarter of the memory holds (CPU, 2 GiB at
    most) or 80 % of what is free (CUDA), and no more than max_rows full contexts take.

    Raises EngineConfigError with the field's name when a value is out of range.
    """

    max_concurrent_requests: int = 64
    queue_size: int = 256
    queue_timeout: float = 30.0
    max_rows: int = 256
    max_step_tokens: int = 2048
    block_size: int = 16
    kv_blocks: int | None = None

    def __post_init__(self) -> None:
        least = {
            "max_concurrent_requests": 1,
            "queue_size": 0,
            "max_rows": 1,
            "max_step_tokens": self.max_rows,  # every row must fit into one step
            "block_size": 1,
            "kv_blocks": 2,  # one is spare
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if name == "kv_blocks" and value is None:
                continue
            if not isinstance(value, int) or value < bound:
                whose = " (max_rows)" if name == "max_step_tokens" else ""
                raise EngineConfigError(
                    f"{name} must be a whole number of at least {bound}{whose}, got {value!r}"
                )
        if not isinstance(self.queue_timeout, int | float) or not self.queue_timeout >= 0:
            raise EngineConfigError(f"queue_timeout must be a number of seconds, got {self.queue_timeout!r}")


class RequestHandle:
    def __init__(self, engine: Engine, group: PathGroup) -> None:
        self._engine = engine
        self._group = group
        self.id = group.id

    def cancel(self) -> None:
        """From any thread, at any time; the request ends with Done("cancelled") unless it has ended."""
        self._engine._commands.put(("cancel", self._group))


class Engine:
    """model: a transformers causal language model with attention set to ours (`checkpoint.load` does so).

    ranks: where it is this process's share of one; the engine ends them when it is shut down.
    """

    def __init__(
        self,
        model: Any,
        prompts: PromptRenderer,
        vocabulary: Vocabulary,
        controller: Controller,
        config: EngineConfig | None = None,
        observer: Observer | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.config = config = config or EngineConfig()
        self.prompts = prompts
        self.vocabulary = vocabulary
        self.controller = controller
        self.adapters = Adapters()
        self.metrics = Metrics(observer)
        self.ranks = ranks
        self.sampling = _sampling_of(model)
        self.context = int(getattr(model.config, "max_position_embeddings", 0) or 2**20)
        blocks = config.kv_blocks or _default_blocks(model, config, self.context, ranks)
        shares = ranks.count if ranks else 1
        cache = KVCache(model.config, blocks, config.block_size, model.dtype, model.device, shares)
        self._runner = ranks.runner(model, cache) if ranks else ModelRunner(model, cache)
        # one block is spare, for the copy of a prompt's last block that a path writes into
        self.room = min(self.context, (blocks - 1) * config.block_size)
        self._lock = threading.Lock()
        self._gate = threading.Lock()  # who holds it keeps commands from being taken in
        self._in_flight: dict[int, PathGroup] = {}
        self._thread: threading.Thread | None = None
        self._begin()

    def _begin(self) -> None:
        blocks = BlockManager(self._runner.cache.data.shape[2], self.config.block_size)
        limits = self.config
        self._core = EngineCore(
            self._runner,
            Scheduler(blocks, limits.max_concurrent_requests, limits.max_rows, limits.max_step_tokens),
            self.vocabulary,
            self.metrics,
            time.monotonic,
            self.room,
            limits.queue_timeout,
            self.adapters,
        )
        self._commands: queue.SimpleQueue[tuple[str, PathGroup | None]] = queue.SimpleQueue()
        self._closing_at: float | None = None
        self._error: BaseException | None = None

    # for any thread

    @property
    def alive(self) -> bool:
        """Whether it can take requests: neither dead nor shut down."""
        return self._error is None and self._closing_at is None

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
        attached = None if adapter is None else self.adapters[adapter]
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
            min(traits.most_paths, budget.max_paths or traits.most_paths, self.config.max_rows),
            counted,
            answers=AnswerClasses(self.vocabulary.equality),
            adapter=attached,
        )
        group.on_event = lambda event: self._pass_on(group.id, event, on_event)
        with self._lock:
            self._check_open()
            limit = self.config.max_concurrent_requests + self.config.queue_size
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
        scheduler = self._core.scheduler
        running = len(scheduler.running)
        return EngineStats(
            self.alive,
            running,
            max(0, len(self._in_flight) - running),
            scheduler.blocks.used,
            scheduler.blocks.free,
            self._core.steps,
            dict(self.metrics.totals),
        )

    def restart(self) -> None:
        """Begin again after EngineDead, with empty queue and cache. Does nothing to a living engine.

        Nor to one that lost ranks of its model: its process has to begin again.
        """
        with self._lock:
            if self._error is not None and not (self.ranks and self.ranks.lost):
                self._thread = None
                self._begin()

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
        if self.ranks is not None:
            self.ranks.close()

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
                        for group in core.groups:
                            core.cancel(group)
                    if not core.groups and self._commands.empty():
                        return
                if core.groups:
                    core.step()
        except BaseException as error:
            self._die(error)

    def _obey(self, core: EngineCore) -> None:
        """Carry out commands; with nothing to compute, wait for one."""
        wait = not core.groups and self._closing_at is None
        while wait or not self._commands.empty():
            what, group = self._commands.get()
            with self._gate:  # those that come together with it are there, too
                wait = False
            if what == "add" and group is not None:
                core.add(group)
            elif what == "cancel" and group is not None:
                core.cancel(group)
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


def _sampling_of(model: Any) -> SamplingParams:
    """How a model is meant to be sampled: by its generation_config.json, as far as that says."""
    given = getattr(model, "generation_config", None)
    said = given.to_diff_dict() if given is not None else {}
    names = ("temperature", "top_p", "top_k")
    try:
        own = SamplingParams(**{name: said[name] for name in names if said.get(name) is not None})
    except RequestError as error:
        log.warning("generation_config.json is not heeded: %s", error)
        own = SamplingParams()
    return own.over(SamplingParams(1.0, 1.0, 0))


def _default_blocks(model: Any, config: EngineConfig, context: int, ranks: Ranks | None) -> int:
    size = block_bytes(model.config, config.block_size, model.dtype)
    if model.device.type == "cuda":
        free = ranks.free_memory * ranks.count if ranks else torch.cuda.mem_get_info(model.device)[0]
        memory = int(free * 0.8)
    else:
        memory = min(2 * 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    useful = config.max_rows * -(-context // config.block_size)
    blocks = min(memory // size, useful)
    if blocks < 2:
        raise MemoryError(f"{memory} bytes hold no KV cache: one block takes {size}")
    return blocks
