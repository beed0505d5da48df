"""Keeps the store in line with the cluster through kopf's watches, and knows whether they still work.

A watch tells what changes, never what vanished while it was cut off. kopf lists all objects again in that
case, but hands over only those that exist. So for every list that kopf makes one is made here, too: what is
not in it is gone. kopf's requests are seen through its HTTP session.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import aiohttp

from controllable_operator.client import Client
from controllable_operator.desired.common import MANAGED_BY_LABEL, MANAGER
from controllable_operator.errors import ApiError, NotFound
from controllable_operator.kinds import GPU_KINDS, MODEL, OPTIONAL_WATCHED_KINDS, WATCHED_KINDS, Kind
from controllable_operator.metrics import API_REQUESTS
from controllable_operator.store import Key, Manifest, Store, stripped

logger = logging.getLogger(__name__)

# The API server ends a watch after this time, and kopf opens the next one: a sign of life without events.
RENEW_SECONDS = 240
# Longer than any pause of a watch that works.
DEAD_SECONDS = 2.5 * RENEW_SECONDS
_RETRY_SECONDS = 2.0


def selector(kind: Kind) -> str:
    """The labels of the objects of `kind` that are watched: all models and GPUs, of the rest what is ours."""
    return "" if kind in (MODEL, *GPU_KINDS) else f"{MANAGED_BY_LABEL}={MANAGER}"


def refill(client: Client, store: Store, kind: Kind) -> set[Key]:
    """Bring the store in line with all objects of a kind. Returns the models that something is news to."""
    try:
        items, version = client.list(kind, None, selector(kind), partial(stripped, kind))
    except NotFound:  # a kind of others that this cluster has not, or has no more
        return store.forget(kind)
    return store.replace(kind, items, version)


class Watches:
    """Feeds `store`.

    Args:
        news: called in the event loop with the models that something is news to.
        gpus: called in the event loop when something of what tells of GPUs may have changed.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        news: Callable[[Iterable[Key]], None],
        gpus: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._store, self._news, self._gpus = client, store, news, gpus
        self._by_path = {kind.path(None): kind for kind in WATCHED_KINDS}
        self._to_list = set(WATCHED_KINDS)
        self._wake = asyncio.Event()
        self._filled = asyncio.Event()
        self._alive: dict[Kind, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Fill the store, and keep it filled."""
        self._wake.set()
        self._task = asyncio.create_task(self._list_on_demand(), name="lists")

    async def stop(self) -> None:
        """Leave the store as it is."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def filled(self) -> None:
        """Wait until all that exists is in the store."""
        await self._filled.wait()

    @property
    def failed(self) -> bool:
        """Whether the store is no longer kept filled."""
        return self._task is not None and self._task.done()

    def told(self, kind: Kind, event_type: str | None, manifest: Manifest) -> None:
        """A watch told that an object is there, or is gone (DELETED)."""
        self._alive[kind] = time.monotonic()
        change = self._store.remove if event_type == "DELETED" else self._store.put
        self._news(change(kind, manifest))
        if kind in GPU_KINDS:
            self._gpus()

    def list_again(self, kinds: Iterable[Kind] = WATCHED_KINDS) -> None:
        """Something may have vanished without an event."""
        self._to_list.update(kinds)
        self._wake.set()

    def ages(self) -> dict[str, float]:
        """Seconds since each watch was opened or told something, by resource."""
        now = time.monotonic()
        return {kind.plural: now - alive for kind, alive in self._alive.items()}

    def dead(self) -> list[str]:
        """Resources whose watch has been silent for longer than it can be while it works.

        A kind of others that the cluster has no more is not watched, and not missed.
        """
        gone = {kind.plural for kind in OPTIONAL_WATCHED_KINDS if not self._store.all(kind)}
        return [name for name, age in self.ages().items() if age > DEAD_SECONDS and name not in gone]

    def tracing(self) -> aiohttp.TraceConfig:
        """What kopf's HTTP session has to be given, so that its lists and watches are seen here."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        return trace

    async def _answered(self, session: Any, context: Any, done: aiohttp.TraceRequestEndParams) -> None:
        kind = self._by_path.get(done.url.path)
        watch = done.url.query.get("watch") == "true"
        verb, resource = ("watch" if watch else "list"), (kind.plural if kind else "others")
        API_REQUESTS.labels(verb=verb, resource=resource, code=done.response.status).inc()
        if kind is None or done.response.status != 200:
            return
        self._alive[kind] = time.monotonic()
        if not watch and "continue" not in done.url.query:
            self.list_again([kind])

    async def _list_on_demand(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._to_list:
                kind = self._to_list.pop()
                try:
                    self._news(await asyncio.to_thread(refill, self._client, self._store, kind))
                    if kind in GPU_KINDS:
                        self._gpus()
                except ApiError as error:
                    logger.warning("no list of %s: %s", kind.plural, error)
                    self._to_list.add(kind)
                    await asyncio.sleep(_RETRY_SECONDS)
            self._filled.set()
