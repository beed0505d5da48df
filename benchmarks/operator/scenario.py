"""The course of the benchmark for one size of fleet, and the figures that come of it."""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import kubernetes
import urllib3

from benchmarks.operator.fleet import Fleet
from benchmarks.operator.measure import Operator, Sample

LIMIT = 900.0  # seconds after which a wait is given up
LOOK = 0.5  # seconds between two looks, which cost the operator something, too
PROGRAMS = ("operator", "kube-apiserver", "etcd", "kube-controller", "kube-scheduler", "kwok", "benchmark")


@dataclass
class Figures:
    """Everything measured with one size of fleet."""

    models: int
    apply_seconds: float = 0.0
    converged_seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    reconciles: float = 0.0
    reconcile_ms: float = 0.0
    requests: dict[tuple[str, ...], float] = field(default_factory=dict)
    peak_memory: float = 0.0
    steady_cores: float = 0.0
    steady_memory: float = 0.0
    steady_seconds: float = 0.0
    steady_requests: dict[tuple[str, ...], float] = field(default_factory=dict)
    changes: list[float] = field(default_factory=list)
    restart_seconds: float = 0.0
    restart_writes: float = 0.0
    restart_changed: int = 0
    restart_memory: float = 0.0
    restart_cpu: float = 0.0

    @property
    def write_and_read_requests(self) -> float:
        """Requests about models, but for lists, watches and the leader's Lease."""
        return sum(
            count
            for (verb, resource), count in self.requests.items()
            if verb not in ("list", "watch") and resource not in ("leases", "apis", "others")
        )

    def change_quantile(self, share: float) -> float:
        return statistics.quantiles(self.changes, n=1000, method="inclusive")[round(share * 1000) - 1]


def run(fleet: Fleet, logs: Path, say: Callable[[str], None], steady: float, changes: int) -> Figures:
    figures = Figures(len(fleet.models))
    fleet.create_namespaces()
    operator = Operator(logs / f"operator-{figures.models}.log")
    try:
        _until(operator.answers, operator)
        _until(lambda: operator.sample().total("leader") == 1, operator)
        _converge(fleet, operator, figures)
        say(f"{figures.models} models converged after {figures.converged_seconds:.1f} s")
        _steady(operator, figures, steady)
        say(f"steady: {figures.steady_cores:.3f} cores, {figures.steady_memory:.0f} MiB")
        figures.changes = _changes(fleet, changes)
        say(f"a change arrives after {figures.change_quantile(0.5):.2f} s (median)")
        _settled(fleet, operator)
        _restart(fleet, operator, figures)
        say(f"settled {figures.restart_seconds:.1f} s after a restart, {figures.restart_writes:.0f} writes")
    finally:
        operator.stop()
    return figures


def _converge(fleet: Fleet, operator: Operator, figures: Figures) -> None:
    before = operator.sample()
    start = fleet.create_models()
    figures.apply_seconds = time.monotonic() - start

    def ready() -> bool:
        sample = operator.sample()
        figures.peak_memory = max(figures.peak_memory, sample.memory)
        return sample.total("models", phase="Ready") == len(fleet.models)

    _until(ready, operator)
    figures.converged_seconds = time.monotonic() - start
    after = _settled(fleet, operator)
    figures.cpu = {name: after.cpu.get(name, 0) - before.cpu.get(name, 0) for name in PROGRAMS}
    figures.reconciles = _grown(before, after, "reconcile_duration_seconds_count")
    figures.reconcile_ms = 1000 * _grown(before, after, "reconcile_duration_seconds_sum") / figures.reconciles
    figures.requests = _requests(before, after)


def _steady(operator: Operator, figures: Figures, seconds: float) -> None:
    before = operator.sample()
    time.sleep(seconds)
    after = operator.sample()
    figures.steady_seconds = after.when - before.when
    figures.steady_cores = (after.cpu["operator"] - before.cpu["operator"]) / figures.steady_seconds
    figures.steady_memory = after.memory
    figures.steady_requests = _requests(before, after)


def _changes(fleet: Fleet, count: int) -> list[float]:
    """Seconds from the answer to a person's change until a watch tells of the changed Deployment."""
    seen: dict[tuple[str, str], tuple[float, int]] = {}
    threading.Thread(target=_follow, args=(seen,), daemon=True).start()
    while len(seen) < len(fleet.models):
        time.sleep(0.1)
    taken = []
    models = random.Random(1).sample(fleet.models, len(fleet.models))  # noqa: S311
    for turn in range(count):
        model = models[turn % len(models)]
        generation = seen[model][1]
        fleet.patch(model, {"control": {"pathPruning": {"maxPaths": 2 + turn // len(models)}}})
        start = time.monotonic()
        while seen[model][1] == generation and time.monotonic() < start + 30:
            time.sleep(0.002)
        taken.append(seen[model][0] - start if seen[model][1] != generation else 30.0)
        time.sleep(0.05)
    return taken


def _follow(seen: dict[tuple[str, str], tuple[float, int]]) -> None:
    """Note when which Deployment got which generation, until the watch ends."""
    watch = kubernetes.client.AppsV1Api().list_deployment_for_all_namespaces(
        watch=True, timeout_seconds=int(LIMIT), _preload_content=False
    )
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        for line in watch:
            meta = json.loads(line)["object"]["metadata"]
            key = meta["namespace"], meta["name"]
            if seen.get(key, (0.0, 0))[1] != meta["generation"]:
                seen[key] = (time.monotonic(), meta["generation"])


def _restart(fleet: Fleet, operator: Operator, figures: Figures) -> None:
    operator.stop()
    before = fleet.versions()
    start = time.monotonic()
    operator.start()
    _until(operator.answers, operator)

    def looked_at_all() -> bool:
        sample = operator.sample()
        figures.restart_memory = max(figures.restart_memory, sample.memory)
        return sample.total("reconcile_duration_seconds_count") >= len(fleet.models)

    _until(looked_at_all, operator)
    figures.restart_seconds = time.monotonic() - start
    after = operator.sample()
    figures.restart_cpu = after.cpu["operator"]
    time.sleep(2)
    figures.restart_writes = operator.sample().total("writes_total")
    figures.restart_changed = len(before.items() ^ fleet.versions().items())


def _settled(fleet: Fleet, operator: Operator) -> Sample:
    """Until all are ready and nothing has been reconciled for three seconds."""
    quiet_since, last = time.monotonic(), -1.0
    while True:
        sample = operator.sample()
        count = sample.total("reconcile_duration_seconds_count")
        if count != last or sample.total("models", phase="Ready") < len(fleet.models):
            quiet_since, last = time.monotonic(), count
        if time.monotonic() - quiet_since > 3:
            return sample
        time.sleep(LOOK)


def _until(holds: Callable[[], bool], operator: Operator) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        if operator.process.poll() is not None:
            raise RuntimeError(f"the operator ended with status {operator.process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {LIMIT:.0f} s")
        time.sleep(LOOK)


def _grown(before: Sample, after: Sample, name: str) -> float:
    return after.total(name) - before.total(name)


def _requests(before: Sample, after: Sample) -> dict[tuple[str, ...], float]:
    earlier = before.by("api_requests_total", "verb", "resource")
    later = after.by("api_requests_total", "verb", "resource")
    grown = {key: count - earlier.get(key, 0) for key, count in later.items()}
    return {key: count for key, count in sorted(grown.items()) if count}
