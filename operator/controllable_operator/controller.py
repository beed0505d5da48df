"""The loop around `reconcile`: a queue of names, a few workers, retries with backoff, a periodic round."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from controllable_operator.errors import ApiError, OperatorError
from controllable_operator.metrics import ERRORS, QUEUE_DEPTH, QUEUE_SECONDS, RECONCILE_SECONDS
from controllable_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name

# They mostly wait for the API server.
WORKERS = 8
# A change often comes as several events in a row (a pod's three containers): one reconciliation is enough.
SETTLE_SECONDS = 0.05
# What becomes so without an event (a pause that is over) is found in the next round, from what is known.
ROUND_SECONDS = 300.0


class Controller:
    """Calls `reconcile` for every name that was noted, one call at a time for each name.

    Args:
        reconcile: called in a thread with (namespace, name, failures in a row); may block, may raise. Returns
            the seconds after which it has to be called again, None if only a change matters.
        models: all (namespace, name) that exist.
    """

    def __init__(
        self,
        reconcile: Callable[[str, str, int], float | None],
        models: Callable[[], Iterable[Key]],
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._reconcile, self._models, self._round_seconds = reconcile, models, round_seconds
        self._queue: WorkQueue[Key] = WorkQueue()
        self._threads = ThreadPoolExecutor(WORKERS, "reconcile")
        self._all_noted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._succeeded: dict[Key, float] = {}

    def note(self, namespace: str, name: str) -> None:
        """Something about this model may have changed."""
        self._queue.add_after((namespace, name), SETTLE_SECONDS)

    def note_each(self, keys: Iterable[Key]) -> None:
        """Something about these models may have changed."""
        for key in keys:
            self.note(*key)

    def note_all(self) -> None:
        """Something that concerns every model may have changed."""
        self._all_noted.set()

    def start(self) -> None:
        """Start the workers in the running event loop; first of all, every model is looked at."""
        self._tasks = [asyncio.create_task(self._work(), name=f"worker {i}") for i in range(WORKERS)]
        self._tasks.append(asyncio.create_task(self._rounds(), name="rounds"))
        self.note_all()

    async def stop(self) -> None:
        """Stop the workers, after each has finished the reconciliation that it has in hand."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def failed(self) -> bool:
        """True once a worker has ended, which none ever should."""
        return any(task.done() for task in self._tasks)

    @property
    def successes(self) -> dict[Key, float]:
        """When each model was last reconciled without an error, in Unix time."""
        known = set(self._models())
        return {key: stamp for key, stamp in self._succeeded.copy().items() if key in known}

    async def _work(self) -> None:
        while True:
            key, waited = await self._queue.get()
            QUEUE_DEPTH.set(len(self._queue))
            QUEUE_SECONDS.observe(waited)
            work = asyncio.ensure_future(self._reconcile_once(key))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await work
                raise

    async def _reconcile_once(self, key: Key) -> None:
        namespace, name = key
        loop = asyncio.get_running_loop()
        failures = self._queue.failures(key)
        try:
            with RECONCILE_SECONDS.time():
                again_in = await loop.run_in_executor(
                    self._threads, self._reconcile, namespace, name, failures
                )
            self._queue.forget(key)
            self._succeeded[key] = time.time()
            if again_in is not None:
                self._queue.add_after(key, again_in)
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
            models = list(self._models())
            for key in models:
                self._queue.add(key)
            QUEUE_DEPTH.set(len(self._queue))
            for gone in self._succeeded.keys() - models:
                del self._succeeded[gone]
