"""Asks an equality in a process of its own, and does not wait for ever.

What computer algebra makes of a stranger's text may take hours or all memory. The process is ended where it
takes longer than LIMIT, and another one is there for the next question.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading

from controllable_inference.interpreter import environment, python

log = logging.getLogger(__name__)

LIMIT = 0.5
"""Seconds for one comparison."""
START = 20.0
"""Seconds for the process to come up: computer algebra takes one to import, more on a busy machine."""
MEMORY = 2 << 30
"""Bytes of address space that it may have."""


class _Comparer:
    """The process, started at the first question; for one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, name: str, one: str, other: str) -> bool | None:
        with self._lock:
            try:
                process = self._prepared_for(name)
                return self._answer(process, json.dumps([name, one, other]), LIMIT)
            except (OSError, EOFError, TimeoutError) as error:
                log.warning(
                    "equality %s could not compare two answers: %s", name, error or type(error).__name__
                )
                self._end()
                return None

    def end(self) -> None:
        with self._lock:
            self._end()

    def _prepared_for(self, name: str) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [python(), "-P", "-m", "controllable_inference.core.bounded"],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for those who asked
            )
            self._prepared.clear()
        if name not in self._prepared:  # its imports are not what is to be bounded
            self._answer(self._process, json.dumps([name, "a", "b"]), START)
            self._prepared.add(name)
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], question: str, seconds: float) -> bool | None:
        """Raises OSError or EOFError if the process has ended, TimeoutError if it says nothing in time."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(question.encode() + b"\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"no answer within {seconds} s")
        line = process.stdout.readline()
        if not line:
            raise EOFError("the process that compares has ended")
        return json.loads(line)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]


_comparer = _Comparer()
ask = _comparer.ask
"""ask(name, one, other): whether `equality_of(name)` finds them equal; None if it raised or took too long."""
atexit.register(_comparer.end)


def answer_questions() -> None:
    """The process: a question a line on standard input, an answer a line on standard output."""
    from controllable_inference.core.equality import equality_of

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.disable(logging.WARNING)  # libraries tell of each text that they can't read
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else prints does not answer for us
    for line in questions:
        name, one, other = json.loads(line)
        signal.alarm(int(START))  # nobody waits any more: end, even if who asked is gone
        equal: bool | None = None
        with contextlib.suppress(Exception):
            equal = bool(equality_of(name).equal(one, other))
        signal.alarm(0)
        answers.write(json.dumps(equal).encode() + b"\n")


if __name__ == "__main__":
    answer_questions()
