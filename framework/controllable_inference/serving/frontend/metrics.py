"""/metrics: Triton's own, passed through, and the frontend's."""

import httpx
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from controllable_inference.engines.metrics import SECONDS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class FrontendMetrics:
    """What only the frontend can count: HTTP requests by route and status, and what it sees of Triton."""

    def __init__(self, triton_url: str) -> None:
        self._triton_url = triton_url
        self._registry = CollectorRegistry()
        disable_created_metrics()  # one more series for each, which nobody queries
        self.requests = Counter(
            "controllable_frontend_requests_total",
            "HTTP requests by route and status",
            ["route", "status"],
            registry=self._registry,
        )
        self.duration = Histogram(
            "controllable_frontend_request_duration_seconds",
            "HTTP requests from the first byte in to the last byte out",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.open_requests = Gauge(
            "controllable_frontend_requests_open", "HTTP requests being answered", registry=self._registry
        )
        self._triton_up = Gauge(
            "controllable_frontend_triton_up",
            "Whether Triton's metrics could be read",
            registry=self._registry,
        )

    async def text(self) -> bytes:
        """Prometheus' text format; Triton's part is missing while Triton is."""
        triton = b""
        try:
            async with httpx.AsyncClient(timeout=2.0) as client:
                response = await client.get(self._triton_url)
                response.raise_for_status()
                triton = response.content
        except httpx.HTTPError:
            pass
        self._triton_up.set(1 if triton else 0)
        if triton and not triton.endswith(b"\n"):
            triton += b"\n"
        return triton + generate_latest(self._registry)
