"""Prometheus metrics of the operator itself."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "controllable_operator_reconcile_duration_seconds",
    "How long one reconciliation took.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ERRORS = Counter(
    "controllable_operator_reconcile_errors_total", "Reconciliations that failed, by reason.", ["reason"]
)
WRITES = Counter(
    "controllable_operator_writes_total",
    "Objects written or deleted; constant while nothing changes.",
    ["kind", "verb"],
)
QUEUE_DEPTH = Gauge("controllable_operator_queue_depth", "Models that wait to be reconciled.")
