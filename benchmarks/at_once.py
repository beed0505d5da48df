"""Many calls to an API server at a time, and waiting for what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(call: Callable[[T], object], items: Iterable[T], threads: int = 8) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, items))


def wait_until(holds: Callable[[], bool], limit: float = 300) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit:.0f} s")
        time.sleep(0.5)
