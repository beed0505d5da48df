"""The queue and the workers: each name once at a time, failures tried again ever more slowly."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from controllable_operator.controller import Controller
from controllable_operator.errors import ApiError, OperatorError
from controllable_operator.workqueue import WorkQueue


async def test_a_name_that_was_noted_often_is_worked_on_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(5):
        queue.add("a")
    assert (await queue.get())[0] == "a"
    assert len(queue) == 0


async def test_a_name_noted_during_the_work_is_worked_on_once_more_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key, _ = await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert len(queue) == 1


async def test_retries_slow_down_up_to_a_limit_and_success_forgets_them() -> None:
    queue: WorkQueue[str] = WorkQueue(base=1, limit=5)
    assert [queue.retry("a") for _ in range(4)] == [1, 2, 4, 5]
    assert queue.failures("a") == 4
    queue.forget("a")
    assert queue.failures("a") == 0
    assert queue.retry("a") == 1


async def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    queue: WorkQueue[str] = WorkQueue(base=1, limit=5)
    assert queue.retry("a", at_least=30) == 30


async def test_the_earlier_of_two_times_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 30)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    async with asyncio.timeout(1):
        assert (await queue.get())[0] == "a"


class Recorder:
    """A `reconcile` that records its calls, and does with each of them what it was told."""

    def __init__(self, *behaviours: Callable[[], object]) -> None:
        self.calls: list[tuple[str, str]] = []
        self.failures: list[int] = []
        self.at_once: dict[tuple[str, str], int] = {}
        self.most_at_once = 0
        self._behaviours, self._lock = list(behaviours), threading.Lock()

    def __call__(self, namespace: str, name: str, failures: int) -> None:
        key = (namespace, name)
        with self._lock:
            self.calls.append(key)
            self.failures.append(failures)
            self.at_once[key] = self.at_once.get(key, 0) + 1
            self.most_at_once = max(self.most_at_once, self.at_once[key])
            behaviour = self._behaviours.pop(0) if self._behaviours else None
        try:
            if behaviour:
                behaviour()
        finally:
            with self._lock:
                self.at_once[key] -= 1

    async def called(self, times: int) -> None:
        async with asyncio.timeout(5):
            while len(self.calls) < times:  # noqa: ASYNC110 - the calls come from other threads
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[Controller]:
    controller.start()
    try:
        yield controller
    finally:
        await controller.stop()


def fail(error: Exception) -> Callable[[], None]:
    def behaviour() -> None:
        raise error

    return behaviour


async def test_a_burst_of_events_is_one_reconciliation() -> None:
    recorder = Recorder()
    async with running(Controller(recorder, list)) as controller:
        for _ in range(10):
            controller.note("ns", "a")
        await recorder.called(1)
        await asyncio.sleep(0.2)
    assert recorder.calls == [("ns", "a")]


async def test_one_model_is_never_reconciled_twice_at_once() -> None:
    gate = threading.Event()
    recorder = Recorder(lambda: gate.wait(5))
    async with running(Controller(recorder, list)) as controller:
        controller.note("ns", "a")
        await recorder.called(1)
        controller.note("ns", "a")
        await asyncio.sleep(0.2)
        assert len(recorder.calls) == 1
        gate.set()
        await recorder.called(2)
    assert recorder.most_at_once == 1


@pytest.mark.parametrize("error", [OperatorError("x"), ApiError("y", 503), RuntimeError("a bug")])
async def test_a_failure_is_tried_again_and_harms_no_other(error: Exception) -> None:
    recorder = Recorder(fail(error))
    async with running(Controller(recorder, list)) as controller:
        controller.note("ns", "a")
        await recorder.called(2)
        assert not controller.failed
    assert recorder.calls == [("ns", "a")] * 2
    assert recorder.failures == [0, 1]


async def test_a_round_visits_every_model() -> None:
    recorder = Recorder()
    async with running(Controller(recorder, lambda: [("ns", "a"), ("ns", "b")], round_seconds=0.05)):
        await recorder.called(2)
    assert {("ns", "a"), ("ns", "b")} <= set(recorder.calls)


async def test_a_stop_waits_for_the_reconciliation_in_hand_and_takes_up_no_other() -> None:
    gate, ended = threading.Event(), threading.Event()

    def slow() -> None:
        gate.wait(5)
        ended.set()

    recorder = Recorder(slow)
    controller = Controller(recorder, list)
    controller.start()
    controller.note("ns", "a")
    await recorder.called(1)
    stopping = asyncio.create_task(controller.stop())
    await asyncio.sleep(0.05)
    controller.note("ns", "b")
    assert not stopping.done()
    gate.set()
    await stopping
    assert ended.is_set()
    assert recorder.calls == [("ns", "a")]


async def test_what_asks_to_be_looked_at_later_is() -> None:
    calls: list[float] = []

    def reconcile(*_: object) -> float | None:
        calls.append(time.monotonic())
        return 0.2 if len(calls) == 1 else None

    async with running(Controller(reconcile, list)) as controller:
        controller.note("ns", "a")
        async with asyncio.timeout(5):
            while len(calls) < 2:  # noqa: ASYNC110 - the calls come from other threads
                await asyncio.sleep(0.01)
    assert calls[1] - calls[0] >= 0.2


async def test_the_last_success_of_a_model_goes_with_the_model() -> None:
    models = [("ns", "a"), ("ns", "b")]
    recorder = Recorder()
    async with running(Controller(recorder, lambda: models)) as controller:
        await recorder.called(2)
        async with asyncio.timeout(5):
            while set(controller.successes) != set(models):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        models.remove(("ns", "b"))
        assert set(controller.successes) == {("ns", "a")}
