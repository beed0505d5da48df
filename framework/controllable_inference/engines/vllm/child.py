"""A VllmEngine in a process of its own, with packages of its own: vLLM pins others than a server may have.

Started by `remote.RemoteEngine` as `python -m controllable_inference.engines.vllm.child DESCRIPTOR`. Both
ends of the socket are this package's, in one pod; what goes over it is listed in `messages`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection

from controllable_inference.core.config import ControlConfig
from controllable_inference.core.events import Done, Event, Failed
from controllable_inference.engines.engine import RequestHandle
from controllable_inference.engines.vllm.engine import VllmEngine
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
from controllable_inference.errors import ControllableError, RequestError

log = logging.getLogger(__name__)

PERIOD = 0.25
"""Seconds from one message of statistics to the next."""


class Child:
    """Does what it is told until the socket ends, which is also how it learns that its parent is gone."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._handles: dict[int, RequestHandle] = {}
        self._ended: set[int] = set()

    def send(self, message: object) -> None:
        with self._sending, contextlib.suppress(OSError):  # a parent that is gone is noticed by who listens
            self._channel.send(message)

    def on_metric(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self.send(Measured(name, value, dict(labels)))

    def run(self) -> None:
        load = self._channel.recv()
        assert isinstance(load, Load)
        try:
            engine = self._load(load)
        except Exception as error:
            log.exception("the model can't be loaded")
            self.send(Loaded(None, type(error).__name__, str(error)))
            return
        self.send(Loaded(engine.vocabulary.think_end))
        threading.Thread(target=self._tell_statistics, args=(engine,), daemon=True).start()
        with contextlib.suppress(EOFError, OSError):
            while self._obey(engine, self._channel.recv()):
                pass

    def _load(self, load: Load) -> VllmEngine:
        return VllmEngine.load(
            load.folder,
            load.precision,
            ControlConfig.load(load.folder),
            load.settings,
            limits=load.limits,
            adapters=load.adapters,
            observer=self,
            tensor_parallel=load.tensor_parallel,
        )

    def _obey(self, engine: VllmEngine, message: object) -> bool:
        """Returns whether to go on."""
        match message:
            case Submit():
                self._submit(engine, message)
            case Cancel(number):
                if (handle := self._handles.get(number)) is not None:
                    handle.cancel()
            case Shutdown(drain_timeout):
                engine.shutdown(drain_timeout)
                return False
        return True

    def _submit(self, engine: VllmEngine, request: Submit) -> None:
        def pass_on(event: Event) -> None:
            if isinstance(event, Done | Failed):
                self._ended.add(request.number)
                self._handles.pop(request.number, None)
            self.send(Happened(request.number, event))

        try:
            handle = engine.submit(
                request.prompt,
                request.sampling,
                request.budget,
                pass_on,
                adapter=request.adapter,
                streaming=request.streaming,
                counted=request.counted,
            )
        except ControllableError as error:
            field = error.field if isinstance(error, RequestError) else ""
            said = error.message if isinstance(error, RequestError) else str(error)
            self.send(Refused(request.number, type(error).__name__, said, field))
            return
        except Exception as error:
            log.exception("a request could not be taken in")
            self.send(Refused(request.number, type(error).__name__, str(error), ""))
            return
        self._handles[request.number] = handle
        if request.number in self._ended:  # before there was a handle to keep
            self._handles.pop(request.number, None)
        self._ended.discard(request.number)

    def _tell_statistics(self, engine: VllmEngine) -> None:
        waiting = threading.Event()
        while not waiting.wait(PERIOD):
            self.send(Statistics(engine.stats()))
            if engine.is_dead:
                os._exit(1)  # all callers were told; whoever started this process sees it end


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    Child(Connection(int(sys.argv[1]))).run()
    os._exit(0)  # vLLM's own threads are not waited for


if __name__ == "__main__":
    main()
