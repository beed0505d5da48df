"""What stands in status.control, and where it is from."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from controllable_operator.api import ControlStatus
from controllable_operator.desired.rules import LATENCY, PRUNING, UTILISATION
from controllable_operator.measurements import Measured, Measurements, PrometheusError, ask, measured

NANO = ("test", "nano")


def sample(name: str, value: str, model: str = "nano") -> dict[str, Any]:
    return {"metric": {"__name__": name, "namespace": "test", "model": model}, "value": [1.0, value]}


@pytest.mark.parametrize(
    ("seconds", "told"),
    [("0.8412", "840ms"), ("1.24", "1.2s"), ("12.6", "13s"), ("0.0049", "5ms"), ("0", "0ms")],
)
def test_a_latency_is_told_in_two_digits(seconds: str, told: str) -> None:
    assert measured([sample(LATENCY, seconds)])[NANO].latency_p99 == told


def test_each_model_has_its_own_and_rates_have_two_decimals() -> None:
    found = measured([sample(PRUNING, "0.6389"), sample(UTILISATION, "0.9"), sample(PRUNING, "0", "other")])
    assert found == {
        NANO: ControlStatus(path_pruning_rate="0.64", budget_utilisation="0.90", window="5m"),
        ("test", "other"): ControlStatus(path_pruning_rate="0.00", window="5m"),
    }


def test_where_nothing_was_served_nothing_is_told() -> None:
    assert measured([sample(PRUNING, "NaN"), sample(LATENCY, "NaN")]) == {}


# --- Prometheus ---------------------------------------------------------------------------------------------


@pytest.fixture
def prometheus() -> Iterator[Any]:
    """A Prometheus that answers every query with `answer`, and remembers the last one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.query = parse_qs(urlsplit(self.path).query)["query"][0]  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(server.answer)  # type: ignore[attr-defined]

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_one_query_asks_for_all_models(prometheus: Any) -> None:
    result = [sample(PRUNING, "0.5"), sample(LATENCY, "2", "other")]
    prometheus.answer = json.dumps({"status": "success", "data": {"result": result}}).encode()
    assert set(ask(prometheus.url + "/")) == {NANO, ("test", "other")}
    for name in (PRUNING, UTILISATION, LATENCY):
        assert name in prometheus.query


@pytest.mark.parametrize(
    "answer", [b"<html>", b'{"status": "error"}', b'{"data": {"result": [{"metric": {}}]}}', b"[]"]
)
def test_another_answer_is_an_error_of_its_own(prometheus: Any, answer: bytes) -> None:
    prometheus.answer = answer
    with pytest.raises(PrometheusError):
        ask(prometheus.url)


def test_no_answer_is_one_too() -> None:
    with pytest.raises(PrometheusError, match=r"127\.0\.0\.1:9"):
        ask("http://127.0.0.1:9")


# --- over time ----------------------------------------------------------------------------------------------


async def told(answers: list[Measured | Exception], kept: float = 300.0) -> list[tuple[list[Any], bool]]:
    """What becomes news, and whether nano is measured, after each of these answers."""
    seen: list[tuple[list[Any], bool]] = []
    done, news = asyncio.Event(), []
    turns = iter(answers)

    def answer() -> Measured:
        try:
            turn = next(turns)
        except StopIteration:
            loop.call_soon_threadsafe(done.set)
            turn = PrometheusError("over")
        if isinstance(turn, Exception):
            raise turn
        return turn

    def hear(keys: Any) -> None:
        news.append((sorted(keys), measurements.of(NANO) is not None))

    loop = asyncio.get_running_loop()
    measurements = Measurements(answer, hear, every_seconds=0.001, kept_seconds=kept)
    measurements.start()
    await asyncio.wait_for(done.wait(), 5)
    seen = list(news)
    await measurements.stop()
    return seen


def of(**rates: str) -> Callable[[], Measured]:
    return lambda: measured([sample(PRUNING, rate, model) for model, rate in rates.items()])


async def test_only_what_changed_is_news() -> None:
    one, other, both = of(nano="0.5")(), of(nano="0.6")(), of(nano="0.6", more="0.1")()
    news = [keys for keys, _ in await told([one, one, other, both])]
    assert news == [[NANO], [], [NANO], [("test", "more")]]


async def test_a_prometheus_that_falls_silent_changes_nothing_for_a_while() -> None:
    silent = PrometheusError("away")
    assert await told([of(nano="0.5")(), silent, silent]) == [([NANO], True)]
    news = await told([of(nano="0.5")(), silent, silent], kept=0.0)
    assert ([NANO], False) in news
