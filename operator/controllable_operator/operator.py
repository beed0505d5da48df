"""The parts of a running operator, and how they start, stop and fare together."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import aiohttp
import kopf

from controllable_operator.api import ControlStatus
from controllable_operator.client import Client
from controllable_operator.cluster import Cluster
from controllable_operator.controller import Controller, Key
from controllable_operator.discovery import Discovery, discover
from controllable_operator.errors import ApiError
from controllable_operator.gpu_inventory import GpuInventory
from controllable_operator.kinds import MODEL, MULTI_NODE_KINDS
from controllable_operator.leader import Elector
from controllable_operator.measurements import Measurements, ask
from controllable_operator.metrics import LEADER, Fleet
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.session import session
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.watches import Watches

logger = logging.getLogger(__name__)


class Operator:
    """One replica. It always watches; it works once the store is filled, and while it leads.

    Args:
        elector: None for an operator that is alone.
    """

    def __init__(self, client: Client, settings: Settings, elector: Elector | None = None) -> None:
        self._client, self._elector = client, elector
        self._store = Store()
        self._discovery = Discovery(partial(discover, client), self._offer_changed)
        worker = client.guarded(lambda: elector.leads) if elector else client
        self._measurements: Measurements | None = None
        context = Context(worker, self._store, settings, self._cluster, self._measured)
        self._controller = Controller(partial(reconcile, context), self._models)
        if settings.prometheus_url:
            self._measurements = Measurements(
                partial(ask, settings.prometheus_url), self._controller.note_each
            )
        self._gpus = GpuInventory(
            self._store,
            settings.nvlink_attribute,
            lambda: self._discovery.cluster.has(*MULTI_NODE_KINDS),
            self._controller.note_all,
        )
        self.watches = Watches(client, self._store, self._controller.note_each, self._gpus.note)
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch, and to work or to wait for the lead.

        Raises:
            ApiError: the API server does not answer; call it again.
        """
        await self._discovery.start()
        self.watches.start()
        if self._measurements:
            self._measurements.start()
        self._work = asyncio.create_task(self._lead(), name="lead")

    async def stop(self) -> None:
        """End the reconciliations in hand, then leave the lead to another replica."""
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._measurements:
            await self._measurements.stop()
        await self.watches.stop()
        self._gpus.stop()
        await self._discovery.stop()

    def session(self, info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
        """The session through which kopf is to watch."""
        return session(info, self._client, self.watches.tracing())

    def definition_changed(self) -> None:
        """A kind of others, or a server of metrics, may have come or gone."""
        self._discovery.note()

    async def check(self) -> str:
        """Say that all is well.

        Raises:
            RuntimeError: a restart is needed, and would help.
        """
        ended = self._work and self._work.done()
        if self._controller.failed or ended or self.watches.failed or self._discovery.failed:
            raise RuntimeError("a worker has ended")
        dead = self.watches.dead()
        answers = bool(dead) and await asyncio.to_thread(self._api_answers)
        if answers:
            raise RuntimeError(f"the API server answers, but the watches tell nothing of {', '.join(dead)}")
        return "leads" if self._elector is None or self._elector.leads else "stands by"

    def fleet(self) -> Fleet:
        """Metrics of what is so at the moment."""
        return Fleet(self._phases, lambda: self._controller.successes, self.watches.ages)

    async def _lead(self) -> None:
        await self.watches.filled()
        self._gpus.look()
        logger.info("%d models are known", len(self._store.all(MODEL)))
        if self._elector:
            await self._elector.run(self._controller.start, self._controller.stop)
            return
        self._controller.start()
        LEADER.set(1)
        try:
            await asyncio.Event().wait()
        finally:
            await self._controller.stop()

    def _measured(self, key: Key) -> ControlStatus | None:
        return self._measurements.of(key) if self._measurements else None

    def _cluster(self) -> Cluster:
        return replace(self._discovery.cluster, gpus=self._gpus.gpus)

    def _offer_changed(self) -> None:
        self._gpus.note()
        self.watches.list_again()
        self._controller.note_all()

    def _models(self) -> list[Key]:
        manifests = self._store.all(MODEL)
        return [(manifest["metadata"]["namespace"], manifest["metadata"]["name"]) for manifest in manifests]

    def _phases(self) -> Iterable[str]:
        return (model.get("status", {}).get("phase", "Unknown") for model in self._store.all(MODEL))

    def _api_answers(self) -> bool:
        try:
            self._client.served("apps/v1")
        except ApiError:
            return False
        return True
