"""Child processes that never outlive their parent."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)  # loaded here: after fork nothing may be


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A program in its own process group, its output in a log file.

    Start it from the main thread: the kernel's parent-death signal follows the thread that forked.
    """

    def __init__(self, name: str, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C reaches us alone, and we stop it in order
                preexec_fn=_die_with_parent,
            )

    @property
    def running(self) -> bool:
        """Whether the program is still there."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def stop(self, patience: float) -> None:
        """SIGTERM, and after `patience` seconds SIGKILL, to the whole group; returns when it is gone."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._signal(signal.SIGKILL)  # also what a dead leader left in its group
        self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
