"""Metrics wait in a buffer, so that the engine never waits for Triton."""

from controllable_inference.serving.engine_metrics import BufferedObserver
from serving_fakes import RecordingSeries


def test_values_are_handed_on_when_flushed_counters_as_one_sum_and_gauges_as_the_latest():
    made = {}

    def make(name, metric, labels):
        made[name, *labels.values()] = series = RecordingSeries()
        return series

    observer = BufferedObserver(make)
    observer.on_metric("controllable_paths_total", 2, {"fate": "kept"})
    observer.on_metric("controllable_paths_total", 1, {"fate": "kept"})
    observer.on_metric("controllable_paths_total", 5, {"fate": "pruned"})
    observer.on_metric("controllable_requests_running", 3, {})
    observer.on_metric("controllable_requests_running", 1, {})
    observer.on_metric("controllable_gate_score", 0.25, {})
    observer.on_metric("controllable_gate_score", 0.5, {})
    assert not made
    observer.flush()
    assert made["controllable_paths_total", "kept"].value == 3
    assert made["controllable_paths_total", "pruned"].value == 5
    assert made["controllable_requests_running",].value == 1
    assert made["controllable_gate_score",].observed == [0.25, 0.5]
    observer.on_metric("controllable_paths_total", 1, {"fate": "kept"})
    observer.close()
    assert made["controllable_paths_total", "kept"].value == 4
