"""How the store is kept in line with the cluster, and when the watches count as dead."""

import asyncio
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from controllable_operator.desired.common import labels
from controllable_operator.errors import ApiError, NotFound
from controllable_operator.kinds import DEPLOYMENT, MODEL, SCALED_OBJECT, WATCHED_KINDS, Kind
from controllable_operator.store import Store
from controllable_operator.watches import DEAD_SECONDS, Watches, refill, selector
from yarl import URL


def deployment(name: str, version: int) -> dict[str, Any]:
    meta = {"namespace": "test", "name": name, "labels": labels(name), "resourceVersion": str(version)}
    return {"metadata": meta}


class Lists:
    """An API server that answers lists."""

    def __init__(self) -> None:
        self.deployments: list[dict[str, Any]] = []
        self.version = 1
        self.failures: list[ApiError] = []
        self.asked: list[Kind] = []

    def list(self, kind: Kind, _: None, label_selector: str, keep: Any) -> tuple[list[dict[str, Any]], str]:
        self.asked.append(kind)
        assert label_selector == selector(kind)
        if self.failures:
            raise self.failures.pop()
        if kind == SCALED_OBJECT:
            raise NotFound("the server could not find the requested resource", 404)
        found = self.deployments if kind == DEPLOYMENT else []
        return [keep(item) for item in found], str(self.version)


class Setup:
    def __init__(self) -> None:
        self.server, self.store, self.news = Lists(), Store(), []
        self.watches = Watches(self.server, self.store, self._heard)  # type: ignore[arg-type]

    def _heard(self, keys: Iterable[tuple[str, str]]) -> None:
        self.news.extend(keys)

    async def answered(self, path: str, **query: str) -> None:
        """kopf's HTTP session got an answer."""
        url = URL(f"https://server{path}").with_query(query)
        (seen,) = self.watches.tracing().on_request_end
        await seen(None, None, SimpleNamespace(url=url, response=SimpleNamespace(status=200)))

    def known(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.store.all(DEPLOYMENT)}


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr("controllable_operator.watches._RETRY_SECONDS", 0.01)
    return Setup()


@pytest.fixture
async def running(setup: Setup) -> Any:
    setup.watches.start()
    async with asyncio.timeout(5):
        await setup.watches.filled()
    yield setup
    await setup.watches.stop()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - lists are made in threads
            await asyncio.sleep(0.01)


def test_models_are_watched_all_and_of_the_rest_what_is_ours() -> None:
    assert selector(MODEL) == ""
    assert selector(DEPLOYMENT) == "app.kubernetes.io/managed-by=controllable-operator"


def test_a_kind_that_the_cluster_has_not_is_an_empty_one() -> None:
    store, server = Store(), Lists()
    store.put(SCALED_OBJECT, deployment("nano", 99))
    assert refill(server, store, SCALED_OBJECT) == {("test", "nano")}  # type: ignore[arg-type]
    assert store.all(SCALED_OBJECT) == []


def test_what_comes_back_with_a_kind_that_was_away_is_known_again() -> None:
    store, server = Store(), Lists()
    store.put(SCALED_OBJECT, deployment("nano", 99))
    refill(server, store, SCALED_OBJECT)  # type: ignore[arg-type]
    assert store.owned(SCALED_OBJECT, "test", "nano") == []
    assert store.put(SCALED_OBJECT, deployment("nano", 99)) == {("test", "nano")}
    assert len(store.owned(SCALED_OBJECT, "test", "nano")) == 1


async def test_nothing_counts_as_filled_before_every_kind_was_listed(setup: Setup) -> None:
    setup.server.failures = [ApiError("the API server did not answer")] * 20
    setup.watches.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await setup.watches.filled()
    async with asyncio.timeout(5):
        await setup.watches.filled()
    assert set(setup.server.asked) == set(WATCHED_KINDS)
    await setup.watches.stop()


async def test_lists_that_end_by_an_error_of_ours_are_no_secret(setup: Setup) -> None:
    setup.server.failures = [ValueError("a defect")]  # type: ignore[list-item]
    setup.watches.start()
    await until(lambda: setup.watches.failed)


async def test_what_vanished_while_a_watch_was_cut_off_is_found(running: Setup) -> None:
    running.watches.told(DEPLOYMENT, "ADDED", deployment("a", 2))
    running.watches.told(DEPLOYMENT, "ADDED", deployment("b", 3))
    assert running.known() == {"a", "b"}
    running.news.clear()
    running.server.deployments, running.server.version = [deployment("b", 3)], 9  # no event told that a went
    await running.answered(DEPLOYMENT.path(None), limit="200")  # kopf lists after a gap
    await until(lambda: running.known() == {"b"})
    assert running.news == [("test", "a")]


async def test_even_if_nothing_at_all_is_left(running: Setup) -> None:
    running.watches.told(DEPLOYMENT, "ADDED", deployment("a", 2))
    running.server.version = 9
    await running.answered(DEPLOYMENT.path(None), limit="200")
    await until(lambda: running.known() == set())


async def test_a_watch_or_a_second_page_is_no_reason_to_list(running: Setup) -> None:
    running.server.asked.clear()
    await running.answered(DEPLOYMENT.path(None), watch="true")
    await running.answered(DEPLOYMENT.path(None), limit="200", **{"continue": "x"})
    await running.answered("/api/v1/namespaces")
    await asyncio.sleep(0.05)
    assert running.server.asked == []


async def test_a_deletion_is_told_and_is_news(running: Setup) -> None:
    running.watches.told(DEPLOYMENT, None, deployment("a", 2))
    running.watches.told(DEPLOYMENT, "DELETED", deployment("a", 3))
    assert running.news == [("test", "a")] * 2
    assert running.known() == set()


async def test_a_watch_that_is_neither_renewed_nor_tells_anything_is_dead(
    running: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("controllable_operator.watches.time.monotonic", lambda: now[0])
    await running.answered(DEPLOYMENT.path(None), watch="true")
    running.watches.told(DEPLOYMENT, "ADDED", deployment("a", 2))
    assert running.watches.ages() == {"deployments": 0.0}
    now[0] += DEAD_SECONDS
    assert running.watches.dead() == []
    now[0] += 1
    assert running.watches.dead() == ["deployments"]
    await running.answered(DEPLOYMENT.path(None), watch="true")
    assert running.watches.dead() == []
