"""What the engine counts, by the names that Prometheus sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


class Metric(NamedTuple):
    """kind and labels as Prometheus has them; buckets: upper bounds of a histogram's."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    *(1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0),
    *(15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0),
)
"""Bounds of all histograms of latencies, so that what is measured at different places can be compared.

A quantile is known no better than its bucket is narrow, and a canary is judged by one. From 0.1 s on a bound
is at most 1.5 times the one before, and closer around the usual objective of a P99 under 1.2 s.
"""
_TENTHS = tuple(i / 10 for i in range(1, 11))

METRICS: dict[str, Metric] = {
    "controllable_requests_total": Metric(
        "counter", "Requests by outcome: completed, cancelled, failed, rejected, timeout.", ("outcome",)
    ),
    "controllable_paths_closed_total": Metric("counter", "Paths whose thinking was ended by force."),
    "controllable_answers_not_compared_total": Metric(
        "counter", "Answers that were compared as plain text, for their equality raised or took too long."
    ),
    "controllable_requests_waiting": Metric("gauge", "Requests in the queue."),
    "controllable_requests_running": Metric("gauge", "Requests being computed."),
    "controllable_request_duration_seconds": Metric(
        "histogram", "From submission to the last event.", buckets=SECONDS
    ),
    "controllable_queue_duration_seconds": Metric(
        "histogram", "From submission to admission.", buckets=SECONDS
    ),
    "controllable_time_to_first_token_seconds": Metric(
        "histogram", "From submission to the first sampled token.", buckets=SECONDS
    ),
    "controllable_paths_total": Metric("counter", "Paths by fate.", ("fate",)),
    "controllable_tokens_total": Metric(
        "counter", "Tokens: prompt (computed once a request), path (sampled), saved (estimate).", ("kind",)
    ),
    "controllable_budget_tokens_total": Metric(
        "counter", "Path tokens that budgets granted, and that were used.", ("kind",)
    ),
    "controllable_budget_coefficient": Metric(
        "histogram", "Budget coefficient of planned requests.", buckets=tuple(2 * t for t in _TENTHS)
    ),
    "controllable_gate_score": Metric("histogram", "Scores of paths at step boundaries.", buckets=_TENTHS),
    "controllable_kv_blocks": Metric("gauge", "Blocks of the KV cache by state.", ("state",)),
    "controllable_engine_step_seconds": Metric(
        "histogram",
        "Wall-clock of one engine step.",
        buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
    ),
}


class Observer(Protocol):
    """Where metrics go. Called from the engine's thread (rejections: the caller's); must not raise."""

    def on_metric(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Counters: add value. Gauges: set to it. Histograms: observe it. `name` is a key of METRICS."""


class Metrics:
    """Keeps totals for `EngineStats`, and passes everything on to the observer."""

    def __init__(self, observer: Observer | None = None) -> None:
        self.observer = observer
        self.totals: dict[tuple[str, str], float] = defaultdict(float)
        self._gauges: dict[tuple[str, str], float] = {}

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        self.totals[name, _label(labels)] += value
        self._pass_on(name, value, labels)

    def observe(self, name: str, value: float) -> None:
        self._pass_on(name, value, {})

    def gauge(self, name: str, value: float, **labels: str) -> None:
        key = (name, _label(labels))
        if self._gauges.get(key) != value:
            self._gauges[key] = value
            self._pass_on(name, value, labels)

    def _pass_on(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        if self.observer is not None:
            self.observer.on_metric(name, value, labels)


def _label(labels: Mapping[str, str]) -> str:
    return next(iter(labels.values()), "")


@dataclass(frozen=True)
class EngineStats:
    """A snapshot. totals: counters since the start, by (metric name, value of its one label or "")."""

    alive: bool
    running: int
    waiting: int
    kv_blocks_used: int
    kv_blocks_free: int
    steps: int
    totals: Mapping[tuple[str, str], float]
