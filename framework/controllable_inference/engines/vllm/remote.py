"""The engine of a child process, as this process has it."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import torch

from controllable_inference import errors
from controllable_inference.core.config import ControlSettings
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.events import Done, Event, Failed
from controllable_inference.core.request import Messages, RequestBudget, SamplingParams
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.metrics import EngineStats, Observer
from controllable_inference.engines.vllm.messages import (
    Cancel,
    Happened,
    Load,
    Loaded,
    Measured,
    Refused,
    Shutdown,
    Statistics,
    Submit,
)
from controllable_inference.errors import EngineClosed, EngineDead, ModelLoadError
from controllable_inference.interpreter import python

log = logging.getLogger(__name__)

PYTHON = "CONTROLLABLE_VLLM_PYTHON"
"""Environment variable: the interpreter whose packages hold vLLM; this one if it is not set."""
MODULE = "controllable_inference.engines.vllm.child"
WORKER_NODE = "controllable_inference.engines.vllm.worker_node"
GOODBYE = 10.0
"""Seconds that a child has to end, beyond what its requests were given."""
NOTHING_YET = EngineStats(True, 0, 0, 0, 0, 0, {})


def is_for_this_machine() -> bool:
    """Whether vLLM is here, and a GPU, so that it is what one would choose."""
    there = PYTHON in os.environ or importlib.util.find_spec("vllm") is not None
    return there and torch.cuda.is_available()


class RemoteHandle:
    def __init__(self, engine: RemoteEngine, number: int) -> None:
        self._engine = engine
        self._number = number

    def cancel(self) -> None:
        self._engine.tell(Cancel(self._number))


class RemoteEngine:
    """What serving uses of an engine. A child that ends takes its requests with it, and is not started again:
    what it held on a GPU may not be free yet, so that is left to whoever watches over this process.
    """

    def __init__(
        self,
        folder: Path,
        precision: str,
        settings: ControlSettings,
        *,
        limits: EngineLimits,
        adapters: Sequence[DomainAdapter] = (),
        observer: Observer | None = None,
        tensor_parallel: int = 1,
    ) -> None:
        """Returns once the model is loaded. Raises ModelLoadError, ControlConfigError, AdapterError."""
        _check_there()
        self._observer = observer
        self._receivers: dict[int, tuple[Callable[[Event], None], str | Messages]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._closing = False
        self._stats = NOTHING_YET
        mine, theirs = socket.socketpair()
        with theirs:
            self.process = _start(theirs.fileno())
        self._channel = Connection(mine.detach())
        self._channel.send(Load(folder, precision, settings, limits, adapters, tensor_parallel))
        try:
            loaded = self._channel.recv()
        except (EOFError, OSError):
            code = self.process.wait()
            message = f"vLLM's process ended with code {code} while it loaded {folder}; its log says why"
            raise ModelLoadError(message) from None
        assert isinstance(loaded, Loaded)
        if loaded.error:
            self.process.wait()
            raise getattr(errors, loaded.error, ModelLoadError)(loaded.message)
        self.think_end = loaded.think_end
        self._alive = True
        threading.Thread(target=self._listen, name="vllm-events", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._alive and not self._closing

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
    ) -> RemoteHandle:
        """As `Engine.submit`, but for what is wrong with a request: that comes as Failed. Raises EngineDead,
        EngineClosed.
        """
        number = next(self._numbers)
        with self._lock:
            if self._closing:
                raise EngineClosed("the engine is shutting down")
            if not self._alive:
                raise EngineDead("vLLM's process has ended; this one has to be started again")
            self._receivers[number] = (on_event, prompt)
        self.tell(Submit(number, prompt, sampling, budget, adapter, streaming, counted))
        return RemoteHandle(self, number)

    def stats(self) -> EngineStats:
        return self._stats

    def restart(self) -> None:
        """Does nothing: a child that has ended is not started again here."""

    def shutdown(self, drain_timeout: float = 0.0) -> None:
        """Take no more requests, give those in flight `drain_timeout` seconds, end the child."""
        with self._lock:
            self._closing = True
        self.tell(Shutdown(drain_timeout))
        try:
            self.process.wait(drain_timeout + GOODBYE)
        except subprocess.TimeoutExpired:
            log.error("vLLM's process did not end by itself")
            self.process.kill()
            self.process.wait()

    def tell(self, message: object) -> None:
        with self._sending:
            try:
                self._channel.send(message)
            except OSError:  # it has ended, which `_listen` sees
                log.debug("vLLM's process takes no more messages")

    def _listen(self) -> None:
        try:
            while True:
                self._hear(self._channel.recv())
        except (EOFError, OSError):
            self._lose()

    def _hear(self, message: object) -> None:
        match message:
            case Happened(number, event):
                self._pass_on(number, event)
            case Refused(number, error, said, field):
                self._pass_on(number, Failed(error, f"{self._named(number, field)}{said}"))
            case Measured(name, value, labels) if self._observer is not None:
                self._observer.on_metric(name, value, labels)
            case Statistics(stats):
                self._stats = stats

    def _named(self, number: int, field: str) -> str:
        """The field at fault by the name that the client gave it."""
        if field == "prompt" and number in self._receivers:
            field = "text_input" if isinstance(self._receivers[number][1], str) else "messages"
        return f"{field}: " if field else ""

    def _pass_on(self, number: int, event: Event) -> None:
        with self._lock:
            there = self._receivers.get(number)
            if isinstance(event, Done | Failed):
                self._receivers.pop(number, None)
        if there is not None:
            there[0](event)

    def _lose(self) -> None:
        """Tell everybody in flight that the child is gone."""
        with self._lock:
            self._alive = False
            lost, self._receivers = self._receivers, {}
        if not self._closing:
            log.critical("vLLM's process ended with code %s", self.process.wait())
        for on_event, _ in lost.values():
            on_event(Failed("EngineDead", "vLLM's process ended; try again"))


def become_worker_node(folder: Path, precision: str, tensor_parallel: int) -> NoReturn:
    """Become the process that computes this node's share of a model (see `worker_node`)."""
    _check_there()
    interpreter, environment = _interpreter()
    command = [interpreter, "-m", WORKER_NODE, str(folder), precision, str(tensor_parallel)]
    os.execvpe(interpreter, command, environment)  # noqa: S606


def _check_there() -> None:
    if PYTHON not in os.environ and importlib.util.find_spec("vllm") is None:
        raise ModelLoadError(
            "engine vllm is asked for, and this image has no vLLM: take a runtime image that has it "
            "(spec.serving.image), or let spec.serving.engine be auto or native"
        )


def _start(descriptor: int) -> subprocess.Popen[bytes]:
    interpreter, environment = _interpreter()
    return subprocess.Popen(
        [interpreter, "-m", MODULE, str(descriptor)],
        pass_fds=[descriptor],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    )


def _interpreter() -> tuple[str, dict[str, str]]:
    """The one that has vLLM, and the environment variables to start it with."""
    chosen = os.environ.get(PYTHON)
    interpreter = chosen or python()
    environment = dict(os.environ)
    if chosen:
        environment.pop("PYTHONPATH", None)  # of this interpreter's packages
        environment["PATH"] = os.pathsep.join((str(Path(chosen).parent), environment.get("PATH", "")))
    openmp = Path(interpreter).parent.parent / "lib" / "libiomp5.so"
    if openmp.is_file():
        environment["LD_PRELOAD"] = str(openmp)  # vLLM's build for CPUs is made for Intel's OpenMP
    return interpreter, environment
