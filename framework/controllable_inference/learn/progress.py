"""Says how far a long piece of work has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import progress as bars
from rich.console import Console

EVERY = 60.0  # seconds between two lines of one piece of work, where there is no terminal

Update = Callable[[int, int], None]
"""update(done, tokens): how many are done by now, and what they took. From any thread."""


class Progress:
    """One run's progress. seconds: what stages took, kept in `file` over runs if there is one."""

    def __init__(self, console: Console | None = None, file: Path | None = None) -> None:
        self.console = console or Console(stderr=True, soft_wrap=True)
        self.file = file
        self.seconds: dict[str, float] = (
            json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
        )
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the time since the start."""
        minutes, seconds = divmod(round(time.monotonic() - self._started), 60)
        self.console.print(f"[{minutes:02d}:{seconds:02d}] {text}", markup=False, highlight=False)

    @contextmanager
    def stage(self, name: str, adds: bool = False) -> Iterator[None]:
        """Remember what a stage took: the longest run of it, or all of them where each `adds` to the work."""
        since = time.monotonic()
        try:
            yield
        finally:
            took, before = time.monotonic() - since, self.seconds.get(name, 0.0)
            self.seconds[name] = round(before + took if adds else max(before, took), 1)
            if self.file:
                self.file.write_text(json.dumps(self.seconds), encoding="utf-8")
        self.say(f"{name} done in {took:.0f} s")

    @contextmanager
    def bar(self, what: str, total: int, done: int = 0) -> Iterator[Update]:
        """While `total` problems are worked through, of which `done` were done before."""
        since, told = time.monotonic(), time.monotonic()

        def speed(tokens: int) -> str:
            return f"{tokens / max(time.monotonic() - since, 1e-9):,.0f} tokens/s"

        if not self.console.is_terminal:

            def tell(now: int, tokens: int) -> None:
                nonlocal told
                if time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    left = (told - since) / max(now, 1) * (total - done - now)
                    self.say(f"{what}: {done + now} of {total}, {speed(tokens)}, {left / 60:.0f} min left")

            yield tell
            return
        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[speed]}"),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=self.console) as shown:
            task = shown.add_task(what, total=total, completed=done, speed="")
            yield lambda now, tokens: shown.update(task, completed=done + now, speed=speed(tokens))
