"""A deadline that leaves no time to answer is the client's own, and no full queue."""

import time

import pytest
from controllable_inference.core.baselines import FastSample, MajorityVote
from controllable_inference.core.request import RequestBudget, SamplingParams


def step_after(engine, seconds):
    """The engine's next step, so many seconds from now."""
    engine.core.outputs.clock = lambda: time.monotonic() + seconds
    engine.step()


def test_a_deadline_that_passes_in_the_queue_says_that_the_request_waited(stepped):
    engine = stepped(MajorityVote(4, 200), max_concurrent_requests=1, queue_timeout=600)
    engine.submit("1+2=", SamplingParams(seed=1))
    engine.step()
    late = engine.submit("1+2=", budget=RequestBudget(deadline=60))
    step_after(engine, 60)
    assert late.kinds == ["failed"]
    assert late.events[0].error == "DeadlineExceeded"
    assert late.events[0].message == (
        "the deadline of 60 s passed while the request waited in the queue; "
        "allow more time, or try again later"
    )


@pytest.mark.parametrize("steps", [2, 5])
def test_a_deadline_that_passes_before_the_first_token_says_so(stepped, steps):
    engine = stepped(FastSample(200), max_rows=1, max_step_tokens=1)  # reads a token of the prompt a step
    late = engine.submit("1+2=", budget=RequestBudget(deadline=60))
    for _ in range(steps):
        engine.step()
    (group,) = engine.core.groups
    assert (group.plan is not None) == (steps == 5)  # planned, it goes on to read how thinking is skipped
    step_after(engine, 60)
    assert late.kinds == ["failed"]
    assert late.events[0].error == "DeadlineExceeded"
    assert late.events[0].message == (
        "the deadline of 60 s passed before the first token; allow more time, or send a shorter prompt"
    )


def test_a_deadline_that_is_far_does_not_lengthen_the_queues_own_timeout(stepped):
    engine = stepped(MajorityVote(4, 200), max_concurrent_requests=1, queue_timeout=30)
    engine.submit("1+2=", SamplingParams(seed=1))
    engine.step()
    late = engine.submit("1+2=", budget=RequestBudget(deadline=600))
    step_after(engine, 31)
    assert late.events[0].error == "QueueTimeout"
