"""Requests to a canary, as its frontends count them."""

from typing import Any

import pytest
from controllable_operator.traffic import Traffic, TrafficReader, Unreadable, parse

INF = float("inf")


def page(good: int, bad: int = 0, refused: int = 0, left: int = 0) -> str:
    counts = {"200": good, "503": bad, "429": refused, "499": left}
    name, duration = "controllable_frontend_requests_total", "controllable_frontend_request_duration_seconds"
    lines = [f'{name}{{route="/v1/completions",status="{code}"}} {n}.0' for code, n in counts.items()]
    return "\n".join(
        [
            "# TYPE controllable_frontend_requests_total counter",
            *lines,
            f"# TYPE {duration} histogram",
            f'{duration}_bucket{{route="/v1/completions",le="1.0"}} {good}.0',
            f'{duration}_bucket{{route="/v1/completions",le="+Inf"}} {good + bad}.0',
            f'{duration}_bucket{{route="/v1/chat/completions",le="1.0"}} 0.0',
            f'{duration}_bucket{{route="/v1/chat/completions",le="+Inf"}} 0.0',
            "",
        ]
    )


def test_requests_that_clients_got_wrong_or_left_do_not_count() -> None:
    assert parse(page(8, bad=2, refused=5, left=3)) == Traffic(10, 2, {1.0: 8, INF: 10})


def test_a_page_without_requests_is_no_traffic() -> None:
    assert parse("") == Traffic()
    assert Traffic().error_rate == 0
    assert Traffic().latency_p99 is None


@pytest.mark.parametrize(
    ("buckets", "seconds"),
    [
        ({1.0: 100, INF: 100}, 0.99),
        ({1.0: 98, 2.0: 100, INF: 100}, 1.5),
        ({1.0: 50, INF: 100}, 1.0),  # longer than the last bound: that is all there is to know
    ],
)
def test_the_p99_latency_lies_between_two_bounds_in_proportion(
    buckets: dict[float, float], seconds: float
) -> None:
    assert Traffic(100, 0, buckets).latency_p99 == pytest.approx(seconds)


def test_traffic_since_a_moment_is_the_difference() -> None:
    before, now = parse(page(10, bad=1)), parse(page(30, bad=2))
    assert now.since(before) == Traffic(21, 1, {1.0: 20, INF: 21})


def test_counters_of_a_container_that_started_anew_count_from_zero() -> None:
    assert parse(page(3)).since(parse(page(10))) == parse(page(3))


POD: dict[str, Any] = {"metadata": {"name": "nano-1", "uid": "1"}, "status": {"podIP": "10.0.0.1"}}
OTHER: dict[str, Any] = {"metadata": {"name": "nano-2", "uid": "2"}, "status": {"podIP": "fd00::2"}}
MODEL, STEP = ("test", "nano"), ("new", 1)


class Pages:
    """Instead of HTTP: what each address answers."""

    def __init__(self, pages: dict[str, str]) -> None:
        self.pages = pages

    def request(self, _: str, url: str) -> Any:
        class Response:
            status = 200
            data = self.pages[url].encode()

        return Response


@pytest.fixture
def reader() -> tuple[TrafficReader, dict[str, str]]:
    answers: dict[str, str] = {}
    return TrafficReader(Pages(answers)), answers


def test_the_pods_of_a_canary_count_together_from_the_moment_its_step_began(
    reader: tuple[TrafficReader, dict[str, str]],
) -> None:
    traffic, pages = reader
    pages["http://10.0.0.1:8080/metrics"] = page(10, bad=3)
    traffic.begin(MODEL, STEP, [POD])
    pages["http://10.0.0.1:8080/metrics"] = page(15, bad=3)
    pages["http://[fd00::2]:8080/metrics"] = page(2, bad=1)
    found = traffic.since_begin(MODEL, STEP, [POD, OTHER])
    assert (found.requests, found.errors) == (8, 1)


def test_an_operator_that_does_not_know_the_begin_takes_all_that_the_canary_counted(
    reader: tuple[TrafficReader, dict[str, str]],
) -> None:
    traffic, pages = reader
    pages["http://10.0.0.1:8080/metrics"] = page(10, bad=3)
    assert traffic.since_begin(MODEL, STEP, [POD]).errors == 3


def test_a_pod_that_does_not_answer_is_named() -> None:
    nobody = {"metadata": {"name": "nano-1", "uid": "1"}, "status": {"podIP": "127.0.0.1"}}
    with pytest.raises(Unreadable, match="the metrics of pod nano-1 cannot be read"):
        TrafficReader().since_begin(MODEL, STEP, [nobody])
