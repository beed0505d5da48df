"""Being told to end: what was started is stopped first, in order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

# Both end Python at once by default, without a `finally`.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def as_exceptions() -> None:
    """Let the first of these signals raise SystemExit, and the next ones not disturb what follows."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)


def _end(number: int, _: Any) -> NoReturn:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def run(command: Sequence[str], **options: Any) -> int:
    """Run a program and return its status. When this one is to end, the other is told so, and waited for."""
    with subprocess.Popen(command, **options) as process:
        try:
            return process.wait()
        except SystemExit:
            process.terminate()
            process.wait()
            raise
        except KeyboardInterrupt:  # the terminal has told the other one, too
            process.wait()
            raise
