"""Prometheus metrics of the operator itself."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PREFIX = "controllable_operator"

RECONCILE_SECONDS = Histogram(
    f"{_PREFIX}_reconcile_duration_seconds",
    "How long one reconciliation took.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ERRORS = Counter(f"{_PREFIX}_reconcile_errors_total", "Reconciliations that failed, by reason.", ["reason"])
WRITES = Counter(
    f"{_PREFIX}_writes_total",
    "Objects written or deleted; constant while nothing changes.",
    ["kind", "verb"],
)
QUEUE_DEPTH = Gauge(f"{_PREFIX}_queue_depth", "Models that wait to be reconciled.")
QUEUE_SECONDS = Histogram(
    f"{_PREFIX}_queue_duration_seconds",
    "How long a model waited for a worker.",
    buckets=(0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
API_REQUESTS = Counter(
    f"{_PREFIX}_api_requests_total",
    "Requests to the API server; code 0 where no answer came.",
    ["verb", "resource", "code"],
)
LEADER = Gauge(f"{_PREFIX}_leader", "1 in the replica that does the work, 0 in one that stands by.")


class Fleet(Collector):
    """What is so at the moment of the scrape. Nothing has to be cleaned up after a model that is gone.

    Args:
        phases: the phase of every model.
        successes: when each model was reconciled last, in Unix time, by namespace and name.
        watch_ages: seconds since each watch was last known to work, by resource.
    """

    def __init__(
        self,
        phases: Callable[[], Iterable[str]],
        successes: Callable[[], Mapping[tuple[str, str], float]],
        watch_ages: Callable[[], Mapping[str, float]],
    ) -> None:
        self._phases, self._successes, self._watch_ages = phases, successes, watch_ages

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        models = GaugeMetricFamily(f"{_PREFIX}_models", "Models by phase.", labels=["phase"])
        counts: dict[str, int] = {}
        for phase in self._phases():
            counts[phase] = counts.get(phase, 0) + 1
        for phase, count in sorted(counts.items()):
            models.add_metric([phase], count)
        last = GaugeMetricFamily(
            f"{_PREFIX}_last_success_timestamp_seconds",
            "When a model was last reconciled without an error.",
            labels=["namespace", "name"],
        )
        for key, stamp in self._successes().items():
            last.add_metric(key, stamp)
        ages = GaugeMetricFamily(
            f"{_PREFIX}_watch_age_seconds",
            "Seconds since a watch was opened or told something.",
            labels=["resource"],
        )
        for resource, age in self._watch_ages().items():
            ages.add_metric([resource], age)
        return [models, last, ages]
