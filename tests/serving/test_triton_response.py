"""Events become responses: deltas of the leading path, everything for a trace, one account at the end."""

import json

from controllable_inference.core import events
from controllable_inference.serving.triton_response import ResponseBuilder
from serving_fakes import result


def fed(builder, *happened):
    for event in happened:
        builder.feed(event)
    return builder


def test_reasoning_deltas_are_joined_until_taken():
    builder = fed(
        ResponseBuilder(stream=True, trace="summary", think_end="</think>"),
        events.PathStarted(0),
        events.Leading(0),
        events.Delta(0, "reasoning", "a"),
        events.Delta(0, "reasoning", "b"),
    )
    assert builder.pending
    assert builder.take() == {"reasoning_output": "ab"}
    assert not builder.pending
    assert builder.take() == {}


def test_a_new_leader_starts_a_new_paragraph():
    builder = fed(
        ResponseBuilder(stream=True, trace="summary", think_end="</think>"),
        events.Leading(0),
        events.Delta(0, "reasoning", "one"),
        events.Leading(2),
        events.Delta(2, "reasoning", "two"),
    )
    assert builder.take() == {"reasoning_output": "one\n\ntwo"}


def test_in_a_full_trace_the_leaders_text_so_far_is_told_when_it_takes_the_lead():
    builder = fed(
        ResponseBuilder(stream=True, trace="full", think_end="</think>"),
        events.Leading(0),
        events.Delta(0, "reasoning", "one"),
        events.Delta(1, "reasoning", "tw"),
        events.Leading(1),
        events.Delta(1, "reasoning", "o"),
    )
    outputs = builder.take()
    assert outputs["reasoning_output"] == "one\n\ntwo"
    assert [json.loads(event)["type"] for event in outputs["event"]] == [
        "leading", "delta", "delta", "leading", "delta",
    ]  # fmt: skip


def test_without_streaming_nothing_is_pending_and_the_final_response_holds_the_winner():
    builder = fed(
        ResponseBuilder(stream=False, trace="none", think_end="</think>"),
        events.Leading(0),
        events.Delta(0, "reasoning", "a loser's thoughts"),
        events.Done("stop", result()),
    )
    assert not builder.pending
    final = builder.final()
    assert final["text_output"] == "42"
    assert final["reasoning_output"] == "word0 word1 word2"
    assert final["finish_reason"] == "stop"
    assert json.loads(final["usage"])["completion_tokens"] == 7
    assert "event" not in final


def test_the_final_response_of_a_stream_holds_only_what_was_not_sent_yet():
    builder = fed(
        ResponseBuilder(stream=True, trace="none", think_end="</think>"), events.Delta(0, "answer", "4")
    )
    builder.take()
    fed(builder, events.Delta(0, "answer", "2"), events.Done("length", result()))
    final = builder.final()
    assert final["text_output"] == "2"
    assert final["finish_reason"] == "length"
