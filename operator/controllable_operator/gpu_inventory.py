"""Keeps `Gpus` in line with what the watches tell of nodes and devices."""

import asyncio
import logging
from collections.abc import Callable

from controllable_operator.kinds import DEVICE_CLASS, GPU_KINDS, NODE, RESOURCE_SLICE
from controllable_operator.placement import Gpus, inventory
from controllable_operator.store import Store

logger = logging.getLogger(__name__)

# A node that comes up, or a driver that starts, is told in many events.
_SETTLE_SECONDS = 1.0


class GpuInventory:
    """What GPUs there are, as of the last event but one second.

    Args:
        attribute: the administrator's own, which groups NVLink peers; empty for none.
        multi_node: called for whether ComputeDomain and LeaderWorkerSet are served.
        changed: called in the event loop after the GPUs changed.
    """

    def __init__(
        self,
        store: Store,
        attribute: str,
        multi_node: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self.gpus = Gpus()
        self._store, self._attribute = store, attribute
        self._multi_node, self._changed = multi_node, changed
        self._counted: object = None
        self._timer: asyncio.TimerHandle | None = None

    def note(self) -> None:
        """A node, a slice or a class may have changed; called in the event loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self.look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def look(self) -> None:
        """Count anew, if anything changed: mostly, a kubelet only tells that its node is alive."""
        self._timer = None
        multi_node = self._multi_node()
        told = (multi_node, *(self._store.changes(kind) for kind in GPU_KINDS))
        if told == self._counted:
            return
        found = inventory(
            self._store.all(NODE),
            self._store.all(RESOURCE_SLICE),
            self._store.all(DEVICE_CLASS),
            self._attribute,
            multi_node,
        )
        self._counted = told
        if found != self.gpus:
            logger.info("GPUs of the cluster: %s", found.told())
            self.gpus = found
            self._changed()
