"""`kubectl controllable top`: two looks at a pod's metrics become rates, shares and latencies."""

import io
import math
from typing import Any

import pytest
from controllable_operator.histogram import quantile
from controllable_operator.plugin import top
from controllable_operator.plugin.view import emit


def scrape(
    pruned: int = 0, kept: int = 0, tokens: int = 0, fast: int = 0, slow: int = 0, used: int = 1
) -> top.Scrape:
    """Metrics as the engine has them: `fast` requests took up to 100 ms, `slow` ones up to 500 ms."""
    return top.Scrape(f"""\
# TYPE controllable_requests_running gauge
controllable_requests_running 2
# TYPE controllable_requests_waiting gauge
controllable_requests_waiting 5
# TYPE controllable_paths_total counter
controllable_paths_total{{fate="pruned"}} {pruned}
controllable_paths_total{{fate="kept"}} {kept}
# TYPE controllable_tokens_total counter
controllable_tokens_total{{kind="path"}} {tokens}
controllable_tokens_total{{kind="saved"}} 99999
# TYPE controllable_kv_blocks gauge
controllable_kv_blocks{{state="used"}} {used}
controllable_kv_blocks{{state="free"}} {4 - used}
# TYPE controllable_request_duration_seconds histogram
controllable_request_duration_seconds_bucket{{le="0.1"}} {fast}
controllable_request_duration_seconds_bucket{{le="0.5"}} {fast + slow}
controllable_request_duration_seconds_bucket{{le="+Inf"}} {fast + slow}
controllable_request_duration_seconds_count {fast + slow}
controllable_request_duration_seconds_sum 1
""")


def row(before: top.Scrape, after: top.Scrape) -> dict[str, Any]:
    return top.pod_row("test", "nano", "nano-1", before, after, 2.0)


def test_counters_become_rates_over_the_time_between_the_looks() -> None:
    found = row(scrape(tokens=100, pruned=10, kept=10), scrape(tokens=300, pruned=13, kept=11))
    assert found["tokensPerSecond"] == 100.0
    assert found["pathsPruned"] == 0.75
    assert (found["running"], found["waiting"], found["kvUtilisation"]) == (2, 5, 0.25)


def test_latencies_are_those_of_the_requests_that_ended_meanwhile() -> None:
    found = row(scrape(fast=1000), scrape(fast=1000, slow=10))
    assert found["window"] == "recent"
    assert found["latencyP50"] == pytest.approx(0.3)
    assert found["latencyP99"] == pytest.approx(0.496)


def test_where_no_request_ended_meanwhile_they_are_those_since_the_start() -> None:
    same = scrape(fast=10, pruned=1, kept=3)
    found = row(same, same)
    assert found["window"] == "sinceStart"
    assert found["latencyP50"] == pytest.approx(0.05)
    assert found["pathsPruned"] == 0.25
    assert found["tokensPerSecond"] == 0.0


def test_an_engine_that_restarted_meanwhile_counts_from_zero() -> None:
    found = row(scrape(tokens=1000, fast=50), scrape(tokens=40, fast=2))
    assert found["tokensPerSecond"] == 20.0
    assert found["latencyP50"] == pytest.approx(0.05)


def test_an_engine_that_never_answered_has_no_latency() -> None:
    found = row(scrape(), scrape())
    assert (found["latencyP50"], found["latencyP99"], found["pathsPruned"]) == (None, None, None)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile(0.99, {0.1: 1.0, math.inf: 10.0}) == 0.1


def test_what_a_person_sees() -> None:
    quiet = scrape(fast=10)
    rows = [
        row(quiet, quiet) | {"pod": "nano-b"},
        row(scrape(), scrape(tokens=50, pruned=2, kept=1, fast=4)) | {"pod": "nano-a"},
        top.failed_row("test", "nano", "nano-c", "not ready"),
    ]
    stream = io.StringIO()
    emit(top.render(top.build(rows, 2.0)), stream)
    assert stream.getvalue() == (
        "MODEL   POD      RUNNING   WAITING   TOKENS/S   PRUNED   KV    P50     P99\n"
        "nano    nano-a   2         5         25         67%      25%   50ms    99ms\n"
        "nano    nano-b   2         5         0          -        25%   50ms*   99ms*\n"
        "nano    nano-c   -         -         -          -        -     -       -       not ready\n"
        "* since the pod started: no request ended in the 2 s looked at\n"
    )
