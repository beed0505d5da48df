"""Names to work on, as client-go has it: each once, never two workers on one, backoff on failure."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class WorkQueue(Generic[Key]):
    """Keys that have to be worked on. All methods belong to one event loop.

    A key added while it waits is worked on once; added while it is being worked on, once more afterwards.

    Args:
        base: seconds until the first retry; doubled with every further failure.
        limit: most seconds between two tries.
    """

    def __init__(self, base: float = 0.5, limit: float = 60.0) -> None:
        self._base, self._limit = base, limit
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: dict[Key, float] = {}  # since when
        self._in_work: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Work on `key` as soon as possible."""
        if key in self._in_work:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().time()
            self._ready.put_nowait(key)

    def add_after(self, key: Key, delay: float) -> None:
        """Work on `key` in `delay` seconds, or earlier if that was asked for already."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._due, key)

    def retry(self, key: Key, at_least: float = 0.0) -> float:
        """Work on `key` again after it failed. Returns the seconds until then."""
        failures = self.failures(key)
        self._failures[key] = failures + 1
        delay = max(at_least, min(self._limit, self._base * 2 ** min(failures, 32)))
        self.add_after(key, delay)
        return delay

    def failures(self, key: Key) -> int:
        """How often `key` failed in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """Note that `key` succeeded: its next failure is a first one."""
        self._failures.pop(key, None)

    async def get(self) -> tuple[Key, float]:
        """The next key, and the seconds it waited. Whoever takes it calls `done` afterwards."""
        key = await self._ready.get()
        since = self._waiting.pop(key)
        self._in_work.add(key)
        return key, asyncio.get_running_loop().time() - since

    def done(self, key: Key) -> None:
        """End the work on `key`."""
        self._in_work.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)
