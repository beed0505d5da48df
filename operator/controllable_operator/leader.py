"""One replica works, the others stand by: leader election by a Lease, as client-go has it.

No replica trusts another one's clock. One that stands by notes, on its own clock, when it last saw the
Lease change, and takes over only after the Lease stayed the same for its whole duration. The leader stops
earlier than that after its last renewal, on its own clock again: so there are never two.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controllable_operator.client import Client
from controllable_operator.desired.common import MANAGED_BY_LABEL, MANAGER
from controllable_operator.errors import ApiError, Conflict, OperatorError
from controllable_operator.kinds import LEASE
from controllable_operator.metrics import LEADER

logger = logging.getLogger(__name__)

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """Seconds. duration: of the Lease, after which another may take it. deadline: after the last renewal,
    when the leader stops. renew: between two renewals. look: between two looks of one that stands by.
    """

    duration: int = 15
    deadline: float = 10.0
    renew: float = 2.0
    look: float = 0.5


class Elector:
    """Holds the Lease, or waits for it.

    Args:
        identity: of this replica; no two have the same.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        identity: str,
        name: str = MANAGER,
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._namespace, self._name = client, namespace, name
        self._identity, self._timing, self._clock = identity, timing, clock
        self._leads_until = float("-inf")
        self._seen: tuple[Any, ...] | None = None
        self._seen_at = 0.0
        self._held: Manifest | None = None

    @property
    def leads(self) -> bool:
        """Whether this replica may write at this moment."""
        return self._clock() < self._leads_until

    async def run(self, begin: Callable[[], None], end: Callable[[], Awaitable[None]]) -> None:
        """Take part for ever: `begin` once this replica leads, `end` when it does no more.

        When it is cancelled, the work in hand ends first; then the Lease is free for the next replica.
        """
        while True:
            await self._wait_for_the_lead()
            logger.info("%s leads", self._identity)
            LEADER.set(1)
            try:
                begin()
                await self._hold()
                logger.warning("%s leads no more: the Lease could not be renewed", self._identity)
            finally:
                LEADER.set(0)
                await end()
                await asyncio.to_thread(self.release)

    async def _wait_for_the_lead(self) -> None:
        leads = False
        while not leads:
            leads = await asyncio.to_thread(self.try_to_lead)
            if not leads:
                await asyncio.sleep(self._timing.look)

    async def _hold(self) -> None:
        """Renew until that has failed for too long, or another one has the Lease."""
        while self.leads:
            await asyncio.sleep(self._timing.renew)
            await asyncio.to_thread(self.try_to_lead)

    def try_to_lead(self) -> bool:
        """Take the Lease if it is free, or renew it. Returns whether this replica leads."""
        asked, held, self._held = self._clock(), self._held, None
        try:
            if held:
                self._held = self._client.replace(LEASE, self._lease(held))
            else:
                self._held = self._take()
        except Conflict:
            self._leads_until = float("-inf")  # another one was faster
        except OperatorError as error:
            logger.warning("no word of the Lease %s/%s: %s", self._namespace, self._name, error)
        else:
            self._leads_until = asked + self._timing.deadline if self._held else float("-inf")
        return self.leads

    def _take(self) -> Manifest | None:
        lease = self._client.get(LEASE, self._namespace, self._name)
        if lease is None:
            return self._client.create(LEASE, self._lease({}))
        return self._client.replace(LEASE, self._lease(lease)) if self._free(lease) else None

    def release(self) -> None:
        """Leave the Lease to whoever looks next, if it is ours."""
        self._leads_until, self._held = float("-inf"), None
        try:
            lease = self._client.get(LEASE, self._namespace, self._name)
            if lease and lease["spec"].get("holderIdentity") == self._identity:
                freed = lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
                self._client.replace(LEASE, lease | {"spec": freed})
        except Conflict:
            self.release()  # the last renewal was still on its way
        except ApiError as error:
            logger.warning("the Lease runs out by itself: %s", error)

    def _free(self, lease: Manifest) -> bool:
        spec = lease["spec"]
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        now = self._clock()
        if record != self._seen:
            self._seen, self._seen_at = record, now
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        return now - self._seen_at > spec.get("leaseDurationSeconds", self._timing.duration)

    def _lease(self, current: Manifest) -> Manifest:
        """The Lease as ours, made of what is there (and of exactly that version)."""
        spec = current.get("spec", {})
        ours = spec.get("holderIdentity") == self._identity
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        fresh = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {MANAGED_BY_LABEL: MANAGER},
            },
        }
        return (current or fresh) | {
            "spec": spec
            | {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": self._timing.duration,
                "acquireTime": spec.get("acquireTime") if ours else stamp,
                "renewTime": stamp,
                "leaseTransitions": spec.get("leaseTransitions", 0) + (0 if ours else 1),
            }
        }
