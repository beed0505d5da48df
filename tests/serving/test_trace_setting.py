"""The trace that a model is set up with is what its requests are told, unless they ask for another."""

import pytest
from controllable_inference import ControllableInference
from controllable_inference.core.request import RequestBudget, SamplingParams

SHORT = SamplingParams(max_tokens=6, seed=1)


@pytest.fixture(scope="module")
def silent(tiny_model):
    with ControllableInference.from_pretrained(tiny_model, control={"trace": "none"}) as model:
        yield model


def paths_told_of(model, budget):
    events = list(model.stream("2 + 2 =", SHORT, budget))
    return [event.path for event in events if event.type == "path_started"]


@pytest.mark.parametrize("budget", [None, RequestBudget(paths=2)])
def test_a_request_that_says_nothing_of_a_trace_gets_the_models(silent, budget):
    assert paths_told_of(silent, budget) == []


def test_a_request_that_says_something_is_heard(silent):
    assert paths_told_of(silent, RequestBudget(paths=2, trace="summary")) == [0, 1]
