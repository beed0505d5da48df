"""How the operator finds out what the cluster offers, and stays up to date about it.

Asked for once at the start, and again when a CustomResourceDefinition or an APIService of interest changes:
an operator of others may come, and go, while this one runs.
"""

import asyncio
import logging
from collections.abc import Callable

from controllable_operator.client import Client
from controllable_operator.cluster import Cluster
from controllable_operator.errors import ApiError
from controllable_operator.kinds import OPTIONAL_KINDS, Kind

logger = logging.getLogger(__name__)

CUSTOM_METRICS_GROUP = "custom.metrics.k8s.io"
_CUSTOM_METRICS = (f"{CUSTOM_METRICS_GROUP}/v1beta2", f"{CUSTOM_METRICS_GROUP}/v1beta1")
OPTIONAL_GROUPS = {kind.group for kind in OPTIONAL_KINDS} | {CUSTOM_METRICS_GROUP}
# The API server tells of a definition a little before (or after) it lists its kind.
_LOOK_AFTER_SECONDS = (0.5, 2.0, 10.0)


def discover(client: Client, before: Cluster) -> Cluster:
    """Ask the API server. Where it has no answer (an extension server that is down), `before` goes on.

    Raises:
        ApiError: the API server itself does not answer.
    """
    served: dict[str, set[str] | None] = {}
    silent: set[str] = set()
    for api_version in {kind.api_version for kind in OPTIONAL_KINDS} | set(_CUSTOM_METRICS):
        try:
            served[api_version] = client.served(api_version)
        except ApiError as error:
            if error.status < 500:
                raise
            silent.add(api_version)

    def has(kind: Kind) -> bool:
        if kind.api_version in silent:
            return before.has(kind)
        return kind.plural in (served[kind.api_version] or ())

    # A server of metrics that has none yet will have ours once the first pod is scraped.
    metrics = any(served.get(api_version) is not None for api_version in _CUSTOM_METRICS)
    metrics |= before.custom_metrics and not silent.isdisjoint(_CUSTOM_METRICS)
    return Cluster(frozenset(filter(has, OPTIONAL_KINDS)), metrics)


class Discovery:
    """Keeps `cluster` up to date.

    Args:
        look: called in a thread with what was known before; returns what is so.
        changed: called in the event loop after something came or went.
    """

    def __init__(
        self,
        look: Callable[[Cluster], Cluster],
        changed: Callable[[], None],
        look_after: tuple[float, ...] = _LOOK_AFTER_SECONDS,
    ) -> None:
        self.cluster = Cluster()
        self._look, self._changed, self._look_after = look, changed, look_after
        self._noted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find out what is there, then follow what comes and goes.

        Raises:
            ApiError: the API server does not answer.
        """
        self.cluster = await asyncio.to_thread(self._look, self.cluster)
        logger.info("the cluster offers %s", self.cluster.told())
        self._task = asyncio.create_task(self._follow(), name="discovery")

    async def stop(self) -> None:
        """Follow no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def failed(self) -> bool:
        """Whether nothing is followed any more."""
        return self._task is not None and self._task.done()

    def note(self) -> None:
        """What the cluster offers may have changed."""
        self._noted.set()

    async def _follow(self) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            for pause in self._look_after:
                await asyncio.sleep(pause)
                await self._refresh()
                if self._noted.is_set():
                    break

    async def _refresh(self) -> None:
        try:
            found = await asyncio.to_thread(self._look, self.cluster)
        except ApiError as error:
            logger.warning("what the cluster offers is not known anew: %s", error)
            return
        if found != self.cluster:
            logger.info("the cluster now offers %s", found.told())
            self.cluster = found
            self._changed()
