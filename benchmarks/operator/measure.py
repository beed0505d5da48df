"""What is read from the operator and from the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

_TICKS = os.sysconf("SC_CLK_TCK")
PREFIX = "controllable_operator_"


@dataclass(frozen=True)
class Sample:
    """The operator's metrics and the machine at one moment."""

    when: float
    values: dict[tuple[str, frozenset[tuple[str, str]]], float]
    cpu: dict[str, float]  # seconds by program
    memory: float  # MiB that are the operator's alone or its share of

    def total(self, name: str, **labels: str) -> float:
        """Sum of all series of a metric that have these labels."""
        wanted = set(labels.items())
        return sum(v for (metric, has), v in self.values.items() if metric == PREFIX + name and wanted <= has)

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """A metric's values, summed by these labels."""
        sums: dict[tuple[str, ...], float] = {}
        for (metric, has), value in self.values.items():
            if metric == PREFIX + name:
                key = tuple(dict(has)[label] for label in labels)
                sums[key] = sums.get(key, 0) + value
        return sums


class Operator:
    """An operator as a process beside the benchmark."""

    PORT = 18080

    def __init__(self, log: Path) -> None:
        self._log = log
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "controllable_operator.cli", "run", "--leader-elect"]
        command += ["--health-port=18081", f"--metrics-port={self.PORT}", "--log-level=WARNING"]
        environment = os.environ | {"CONTROLLABLE_RUNTIME_IMAGE": "localhost/pause:1"}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def sample(self) -> Sample:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.PORT}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return Sample(time.monotonic(), values, self._cpu(), _memory(self.process.pid))

    def answers(self) -> bool:
        try:
            self.sample()
        except OSError:
            return False
        return True

    def _cpu(self) -> dict[str, float]:
        used: dict[str, float] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name = (folder / "comm").read_text().strip()
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            if int(folder.name) == self.process.pid:
                name = "operator"
            elif int(folder.name) == os.getpid():
                name = "benchmark"
            used[name] = used.get(name, 0) + (int(fields[11]) + int(fields[12])) / _TICKS
        return used


def _memory(pid: int) -> float:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return int(fields["Pss"].split()[0]) / 1024
