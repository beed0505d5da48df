"""Keeps one engine alive: notices that its thread has died, and starts another."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from controllable_inference.errors import EngineDead

log = logging.getLogger(__name__)

RETRY = 5.0
"""Seconds between two tries to build an engine that would not start again."""


class Engine(Protocol):
    """The part of the engine that supervision needs."""

    @property
    def alive(self) -> bool: ...
    def shutdown(self, drain_timeout: float = ...) -> Any: ...


E = TypeVar("E", bound=Engine)


class EngineSupervisor(Generic[E]):
    """Owns the engine that `build` makes; `build` raises if it can't, and the first time that is final."""

    def __init__(self, build: Callable[[], E]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._engine: E | None = build()
        self._rebuilding = False
        self._closed = False
        self._retry_at = 0.0

    @property
    def engine(self) -> E:
        """The living engine; EngineDead while there is none."""
        engine = self._engine
        if engine is None or not engine.alive:
            raise EngineDead("engine: stopped by an error and restarting; try again in a moment")
        return engine

    def check(self) -> bool:
        """Whether the engine lives. The first call after a death says False and starts another engine."""
        with self._lock:
            if self._closed or self._rebuilding or (self._engine is not None and self._engine.alive):
                return not self._rebuilding
            if time.monotonic() < self._retry_at:
                return False
            self._rebuilding = True
            dead, self._engine = self._engine, None
        log.error("the engine's thread died; starting another")
        threading.Thread(target=self._rebuild, args=(dead,), name="engine-restart", daemon=True).start()
        return False

    def close(self, drain_timeout: float) -> None:
        """Shut the engine down; in-flight requests get `drain_timeout` seconds."""
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown(drain_timeout)

    def _rebuild(self, dead: E | None) -> None:
        if dead is not None:
            try:
                dead.shutdown(0.0)  # gives its memory back before the next engine takes as much
            except Exception:
                log.exception("shutting the dead engine down failed")
        try:
            engine = self._build()
        except Exception:
            # Until then requests fail and so does the canary, which may restart the whole process.
            log.exception("the engine could not be restarted; trying again in %.0f s", RETRY)
            engine = None
        with self._lock:
            self._rebuilding = False
            self._retry_at = time.monotonic() + RETRY
            unwanted = engine if self._closed else None
            self._engine = None if self._closed else engine
        if unwanted is not None:
            unwanted.shutdown(0.0)
