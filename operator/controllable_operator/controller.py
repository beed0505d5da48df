"""The loop around `reconcile`: a queue of names, a few workers, retries with backoff, a periodic round."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from controllable_operator.client import Client
from controllable_operator.errors import ApiError, OperatorError
from controllable_operator.kinds import MODEL
from controllable_operator.metrics import ERRORS, QUEUE_DEPTH, RECONCILE_SECONDS
from controllable_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name

WORKERS = 4
# A change often comes as several events in a row (a pod's three containers): one reconciliation is enough.
SETTLE_SECONDS = 0.05
# A net under the watches: whatever was missed is found in the next round.
ROUND_SECONDS = 300.0


class Controller:
    """Calls `reconcile` for every name that was noted, one call at a time for each name.

    Args:
        reconcile: called in a thread with (namespace, name, failures in a row); may block, may raise.
        models: called in a thread; lists all (namespace, name).
    """

    def __init__(
        self,
        reconcile: Callable[[str, str, int], None],
        models: Callable[[], list[Key]],
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._reconcile, self._models, self._round_seconds = reconcile, models, round_seconds
        self._queue: WorkQueue[Key] = WorkQueue()
        self._all_noted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def note(self, namespace: str, name: str) -> None:
        """Something about this model may have changed."""
        self._queue.add_after((namespace, name), SETTLE_SECONDS)
        QUEUE_DEPTH.set(len(self._queue))

    def note_all(self) -> None:
        """Something that concerns every model may have changed."""
        self._all_noted.set()

    def start(self) -> None:
        """Start the workers in the running event loop."""
        self._tasks = [asyncio.create_task(self._work(), name=f"worker {i}") for i in range(WORKERS)]
        self._tasks.append(asyncio.create_task(self._rounds(), name="rounds"))

    async def stop(self) -> None:
        """Stop the workers; a reconciliation that runs in its thread ends there on its own."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def alive(self) -> bool:
        """False once a worker has ended, which none ever should."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _work(self) -> None:
        while True:
            namespace, name = key = await self._queue.get()
            QUEUE_DEPTH.set(len(self._queue))
            try:
                with RECONCILE_SECONDS.time():
                    await asyncio.to_thread(self._reconcile, namespace, name, self._queue.failures(key))
                self._queue.forget(key)
            except OperatorError as error:
                ERRORS.labels(reason=error.reason).inc()
                pause = error.retry_after if isinstance(error, ApiError) else None
                delay = self._queue.retry(key, at_least=pause or 0.0)
                logger.warning("%s/%s: %s: %s; again in %.1f s", namespace, name, error.reason, error, delay)
            except Exception:
                # A bug. It must not take the other models down with it.
                ERRORS.labels(reason="Internal").inc()
                delay = self._queue.retry(key)
                logger.exception("%s/%s: internal error; again in %.1f s", namespace, name, delay)
            finally:
                self._queue.done(key)

    async def _rounds(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_noted.wait(), self._round_seconds)
            self._all_noted.clear()
            try:
                for key in await asyncio.to_thread(self._models):
                    self._queue.add(key)
            except OperatorError as error:
                ERRORS.labels(reason=error.reason).inc()
                logger.warning("no round over all models: %s", error)


def all_models(client: Client) -> list[Key]:
    """(namespace, name) of every model in the cluster."""
    return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in client.list(MODEL, None)]
