"""A process that is surely the one it was: its id together with when it started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    started: str  # clock ticks since boot: a process id is used again, this pair is not

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The live process with this id; None for none, and for a zombie."""
        try:
            # the command's name, in parentheses, may hold anything
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else cls(pid, fields[19])

    @property
    def alive(self) -> bool:
        return Process.find(self.pid) == self

    def children(self) -> list[Process]:
        try:
            pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return []
        return [process for pid in pids if (process := Process.find(int(pid)))]

    @property
    def command(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        except OSError:
            return ""

    def save(self, file: Path, **more: object) -> None:
        fresh = file.with_suffix(".new")  # whoever reads meanwhile finds the old one, or the whole of this
        fresh.write_text(json.dumps({**asdict(self), **more}))
        fresh.replace(file)

    @classmethod
    def load(cls, file: Path) -> Process | None:
        """The process that a file names, if it is alive."""
        try:
            saved = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        process = cls(saved["pid"], saved["started"])
        return process if process.alive else None
