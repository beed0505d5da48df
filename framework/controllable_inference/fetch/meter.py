"""How far a long work got, told every few seconds, in lines that a log keeps."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

Progress = Callable[[str], None]

PERIOD = 10.0


class Meter:
    """Tells bytes done, share, speed and time left every `PERIOD` seconds, from its own thread."""

    def __init__(self, doing: str, total: int | None, progress: Progress, done: int = 0) -> None:
        self._doing, self._total, self._progress = doing, total, progress
        self._done = self._told = done
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def add(self, count: int) -> None:
        """So many bytes more; negative where some have to be done again."""
        with self._lock:
            self._done += count

    def line(self) -> str:
        """What there is to say now; the speed is that since the last line."""
        now = time.monotonic()
        speed = max(self._done - self._told, 0) / max(now - self._since, 1e-3)
        self._told, self._since = self._done, now
        if not self._total:
            return f"{self._doing}: {size(self._done)}, {size(speed)}/s"
        left = f", {(self._total - self._done) / speed:.0f} s left" if speed else ""
        share = 100 * self._done // self._total
        return f"{self._doing}: {size(self._done)} of {size(self._total)} ({share} %), {size(speed)}/s{left}"

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD):
            self._progress(self.line())


def size(count: float) -> str:
    """Bytes for people, in the units in which disks and Kubernetes' quantities are asked for."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
