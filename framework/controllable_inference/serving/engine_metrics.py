"""The engine's metrics on their way to Triton's metrics endpoint."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from controllable_inference.engines.metrics import METRICS, Metric


class Series(Protocol):
    """One labelled series. Counters increment, gauges are set, histograms observe."""

    def increment(self, value: float) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...


MakeSeries = Callable[[str, Metric, Mapping[str, str]], Series]
"""Makes the series of a metric, by name and labels; called once for each."""


class BufferedObserver:
    """Takes values in from the engine's thread, hands them on where that may take time.

    Triton's metric calls cross a process boundary, which the engine must not wait for.
    """

    def __init__(self, make: MakeSeries) -> None:
        self._make = make
        self._series: dict[tuple[str, str], Series] = {}
        self._values: deque[tuple[str, float, Mapping[str, str]]] = deque()

    def on_metric(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Take one value in; from any thread."""
        self._values.append((name, value, labels))

    def flush(self) -> None:
        """Hand on what has come: counters summed up, gauges as they are now, every histogram value."""
        sums: dict[tuple[str, str], float] = {}
        latest: dict[tuple[str, str], float] = {}
        for _ in range(len(self._values)):
            name, value, labels = self._values.popleft()
            key = (name, next(iter(labels.values()), ""))
            kind = METRICS[name].kind
            series = self._series.get(key) or self._series.setdefault(
                key, self._make(name, METRICS[name], labels)
            )
            if kind == "counter":
                sums[key] = sums.get(key, 0.0) + value
            elif kind == "gauge":
                latest[key] = value
            else:
                series.observe(value)
        for key, total in sums.items():
            self._series[key].increment(total)
        for key, value in latest.items():
            self._series[key].set(value)

    def close(self) -> None:
        """Hand on the rest and let go of every series."""
        self.flush()
        self._series.clear()
