"""What a canary's frontends count of their requests: read from their own /metrics.

The operator asks the pods themselves, by their addresses: it needs no right for that, while a way through the
API server would need one to every port of every pod.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from controllable_operator.desired.common import HTTP_PORT
from controllable_operator.histogram import quantile

_REQUESTS = "controllable_frontend_requests_total"
_DURATION = "controllable_frontend_request_duration_seconds_bucket"
_TIMEOUT = urllib3.Timeout(connect=2, read=5)
_AT_ONCE = 16

Model = tuple[str, str]  # namespace, name
Step = tuple[str, int]  # revision, number


@dataclass(frozen=True)
class Traffic:
    """Requests as they were answered.

    requests: answered well or failed; what a client did wrong, or left early, tells nothing of a revision.
    buckets: how many took at most so many seconds, by that bound.
    """

    requests: int = 0
    errors: int = 0
    buckets: dict[float, float] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Failed requests of all, 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def latency_p99(self) -> float | None:
        """Seconds that 99 of 100 requests took at most, as far as the buckets tell; None without any."""
        return quantile(0.99, self.buckets)

    def since(self, before: "Traffic") -> "Traffic":
        """What came after `before`. Counters that went back were set back: all they have is new."""
        if self.requests < before.requests or self.errors < before.errors:
            return self
        buckets = {bound: count - before.buckets.get(bound, 0) for bound, count in self.buckets.items()}
        return Traffic(self.requests - before.requests, self.errors - before.errors, buckets)

    def __add__(self, other: "Traffic") -> "Traffic":
        bounds = self.buckets.keys() | other.buckets.keys()
        buckets = {bound: self.buckets.get(bound, 0) + other.buckets.get(bound, 0) for bound in bounds}
        return Traffic(self.requests + other.requests, self.errors + other.errors, buckets)


class Unreadable(Exception):
    """A pod does not tell its metrics."""


def parse(text: str) -> Traffic:
    """The traffic in a page of metrics."""
    requests = errors = 0.0
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _REQUESTS and sample.labels["status"].startswith(("2", "5")):
                requests += sample.value
                errors += sample.value if sample.labels["status"].startswith("5") else 0
            elif sample.name == _DURATION:
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0) + sample.value
    return Traffic(round(requests), round(errors), buckets)


class TrafficReader:
    """Reads the traffic of pods, and remembers where a step of a canary began.

    That memory may be lost: what a canary has counted since it started is then taken for the step's.

    Args:
        http: what sends requests.
    """

    def __init__(self, http: urllib3.PoolManager | None = None) -> None:
        self._http = http or urllib3.PoolManager(timeout=_TIMEOUT, retries=False)
        self._begun: dict[Model, tuple[Step, dict[str, Traffic]]] = {}

    def begin(self, model: Model, step: Step, pods: Iterable[dict[str, Any]]) -> None:
        """A step begins now."""
        try:
            self._begun[model] = (step, self._read_all(pods))
        except Unreadable:
            self._begun[model] = (step, {})

    def since_begin(self, model: Model, step: Step, pods: Iterable[dict[str, Any]]) -> Traffic:
        """The traffic of all `pods` since the step began.

        Raises:
            Unreadable: one of them does not tell.
        """
        begun, before = self._begun.get(model, (step, {}))
        if begun != step:
            before = {}
        now = self._read_all(pods)
        return sum((t.since(before.get(uid, Traffic())) for uid, t in now.items()), Traffic())

    def forget(self, model: Model) -> None:
        """The model is gone, or has no canary."""
        self._begun.pop(model, None)

    def _read_all(self, pods: Iterable[dict[str, Any]]) -> dict[str, Traffic]:
        listed = list(pods)
        with ThreadPoolExecutor(_AT_ONCE, "metrics") as threads:
            found = threads.map(self._read, listed)
            return {pod["metadata"]["uid"]: traffic for pod, traffic in zip(listed, found, strict=True)}

    def _read(self, pod: dict[str, Any]) -> Traffic:
        name, address = pod["metadata"]["name"], pod["status"].get("podIP", "")
        host = f"[{address}]" if ":" in address else address
        try:
            response = self._http.request("GET", f"http://{host}:{HTTP_PORT}/metrics")
            if response.status != 200:
                raise Unreadable(f"pod {name} answers its metrics with HTTP status {response.status}")
            return parse(response.data.decode())
        except (urllib3.exceptions.HTTPError, ValueError, KeyError) as error:
            raise Unreadable(f"the metrics of pod {name} cannot be read: {type(error).__name__}") from error
