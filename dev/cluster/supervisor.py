"""Start processes, notice when they end, reap orphans: the duties of a pid namespace's first process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from dev.cluster.errors import ClusterError


class Supervisor:
    """Runs the components of a node; each writes to a log of its own."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}

    def start(self, name: str, command: list[str]) -> None:
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._commands[name] = command

    def wait_until(self, what: str, holds: Callable[[], bool], limit: float = 90) -> None:
        """Until `holds()` is true; an OSError of it counts as not yet.

        ClusterError when a component ends meanwhile, or at the limit, with what the logs say.
        """
        deadline, last_error = time.monotonic() + limit, ""
        while time.monotonic() < deadline:
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise ClusterError(
                        f"{name} ended with status {process.returncode}:\n{self._tail(name)}",
                        f"its log is {self.log(name)}",
                    )
            try:
                if holds():
                    return
            except OSError as error:
                last_error = str(error)
            time.sleep(0.05)
        raise ClusterError(
            f"{what}: not within {limit:.0f} s {last_error and f'({last_error})'}",
            f"logs are in {self._logs}",
        )

    def serve(self) -> None:
        """Reap whatever ends, restart components that do; for ever (a signal's exception ends it)."""
        while True:
            pid, status = os.waitpid(-1, 0)
            name = next((n for n, p in self._running.items() if p.pid == pid), None)
            if name is not None:
                with self.log(name).open("a") as log:
                    log.write(
                        f"--- ended with status {os.waitstatus_to_exitcode(status)}; starting it again\n"
                    )
                time.sleep(1)
                self.start(name, self._commands[name])

    def stop(self, name: str, patience: float = 5) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-8:])
