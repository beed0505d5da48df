"""What the control of the models comes to, as Prometheus has it: one query for all models, once a minute."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3

from controllable_operator.api import ControlStatus
from controllable_operator.desired.queries import WINDOW
from controllable_operator.desired.rules import LATENCY, PRUNING, UTILISATION
from controllable_operator.store import Key

logger = logging.getLogger(__name__)

Measured = Mapping[Key, ControlStatus]

_EVERY_SECONDS = 60.0
# While Prometheus does not answer, what it said last stands for as long as it was about.
_KEPT_SECONDS = 300.0
_QUERY = f'{{__name__=~"{LATENCY}|{PRUNING}|{UTILISATION}",namespace!="",model!=""}}'


class PrometheusError(Exception):
    """Prometheus did not answer, or not with what was asked for."""


def ask(url: str) -> Measured:
    """What Prometheus at `url` has recorded of every model.

    Raises:
        PrometheusError: nothing could be had.
    """
    where = f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': _QUERY})}"
    try:
        response = urllib3.request("GET", where, timeout=10.0, retries=False)
        return measured(json.loads(response.data)["data"]["result"])
    except (urllib3.exceptions.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise PrometheusError(f"{where}: {error!r}") from error


def measured(samples: Iterable[Mapping[str, Any]]) -> Measured:
    """The samples of an instant vector by model, rounded: what changes less is no news."""
    found: dict[Key, dict[str, str]] = {}
    for sample in samples:
        labels, number = sample["metric"], float(sample["value"][1])
        if not math.isfinite(number):  # nothing was served in that time
            continue
        fields = found.setdefault((labels["namespace"], labels["model"]), {"window": WINDOW})
        if labels["__name__"] == LATENCY:
            fields["latencyP99"] = _duration(number)
        else:
            field = "pathPruningRate" if labels["__name__"] == PRUNING else "budgetUtilisation"
            fields[field] = f"{number:.2f}"
    return {key: ControlStatus.model_validate(fields) for key, fields in found.items()}


class Measurements:
    """Keeps what was measured.

    Args:
        ask: called in a thread.
        news: called in the event loop with the models whose measurements changed.
    """

    def __init__(
        self,
        ask: Callable[[], Measured],
        news: Callable[[Iterable[Key]], None],
        every_seconds: float = _EVERY_SECONDS,
        kept_seconds: float = _KEPT_SECONDS,
    ) -> None:
        self._ask, self._news = ask, news
        self._every, self._kept = every_seconds, kept_seconds
        self._measured: Measured = {}
        self._task: asyncio.Task[None] | None = None

    def of(self, key: Key) -> ControlStatus | None:
        """What is known of one model."""
        return self._measured.get(key)

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._follow(), name="measurements")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        answered, silent = time.monotonic(), False
        while True:
            try:
                self._take(await asyncio.to_thread(self._ask))
                answered, silent = time.monotonic(), False
            except PrometheusError as error:
                if not silent:
                    logger.warning("nothing is measured: %s", error)
                silent = True
                if time.monotonic() - answered > self._kept:
                    self._take({})
            await asyncio.sleep(self._every)

    def _take(self, measured: Measured) -> None:
        before, self._measured = self._measured, measured
        self._news([key for key in before.keys() | measured.keys() if before.get(key) != measured.get(key)])


def _duration(seconds: float) -> str:
    """Two digits of it, in the form of a Kubernetes duration."""
    rounded = float(f"{seconds:.2g}")
    return f"{rounded * 1000:.0f}ms" if rounded < 1 else f"{rounded:g}s"
