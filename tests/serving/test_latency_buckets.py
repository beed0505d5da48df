"""A latency is read from a histogram closely enough to judge a revision by."""

from bisect import bisect_left

import pytest
from controllable_inference.engines.metrics import SECONDS
from controllable_inference.serving.frontend.metrics import FrontendMetrics
from controllable_operator.traffic import parse
from prometheus_client import generate_latest


def p99_read_by_the_operator(latencies):
    metrics = FrontendMetrics("http://127.0.0.1:0")
    for seconds in latencies:
        metrics.duration.labels("/v1/chat/completions").observe(seconds)
    return parse(generate_latest(metrics._registry).decode()).latency_p99


@pytest.mark.parametrize("seconds", [0.12, 0.7, 1.1, 1.2, 1.3, 1.9, 2.2, 7.0, 25.0, 100.0, 250.0])
def test_the_p99_of_a_canary_lies_in_the_narrow_bucket_of_its_slow_requests(seconds):
    bound = bisect_left(SECONDS, seconds)
    read = p99_read_by_the_operator([0.05] * 98 + [seconds] * 2)
    assert SECONDS[bound - 1] < read <= SECONDS[bound] <= 1.5 * SECONDS[bound - 1]


def test_a_canary_that_meets_an_objective_of_1200_milliseconds_is_not_taken_for_one_that_misses_it():
    assert (
        p99_read_by_the_operator([0.3] * 98 + [1.1] * 2)
        <= 1.2
        < p99_read_by_the_operator([0.3] * 98 + [1.25] * 2)
    )
