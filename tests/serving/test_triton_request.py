"""Triton's tensors become the engine's types, or an error that starts with the name of the field."""

import json

import pytest
from controllable_inference.core.request import SamplingParams
from controllable_inference.errors import RequestError
from controllable_inference.serving import triton_request
from controllable_inference.serving.triton_request import parse_triton_request


def parse(parameters=None, most_trace="summary", **tensors):
    encoded = {
        name: value if isinstance(value, bool | bytes) else json.dumps(value).encode()
        for name, value in tensors.items()
    }
    return parse_triton_request(encoded, parameters or {}, most_trace)


def test_a_raw_prompt_alone_is_a_request_with_the_engines_defaults():
    request = parse(text_input=b"2 + 2 =")
    assert request.prompt == "2 + 2 ="
    assert not request.stream
    assert request.heartbeat is None
    assert not request.probe
    assert request.sampling == SamplingParams()
    assert request.budget.trace == "summary"


def test_messages_are_flattened_and_developer_speaks_as_system():
    request = parse(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2"}]},
        ]
    )
    assert request.prompt == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "2 + 2"},
    ]


@pytest.mark.parametrize(
    ("tensors", "adapter"), [({}, None), ({"adapter": b""}, None), ({"adapter": b"law"}, "law")]
)
def test_an_adapter_is_named_or_it_is_the_model_by_itself(tensors, adapter):
    assert parse(text_input=b"x", **tensors).adapter == adapter


def test_an_adapters_name_that_is_no_text_is_refused_by_the_field():
    with pytest.raises(RequestError, match=r"^adapter: not UTF-8"):
        parse(text_input=b"x", adapter=b"\xff")


def test_sampling_control_stream_and_heartbeat_arrive():
    request = parse(
        {"heartbeat_ms": 2000, "probe": True},
        text_input=b"x",
        stream=True,
        sampling_parameters={"temperature": 0.5, "seed": 7, "stop": "\n", "max_tokens": None},
        control={"coefficient": 0.5, "max_paths": 3, "effort": "low", "deadline": 2, "trace": "none"},
    )
    assert request.stream
    assert request.heartbeat == 2.0
    assert request.probe
    assert (request.sampling.temperature, request.sampling.seed, request.sampling.stop) == (0.5, 7, ("\n",))
    assert request.budget.max_paths == 3
    assert request.budget.trace == "none"


@pytest.mark.parametrize(
    ("asked", "allowed", "told"),
    [
        (None, "none", "none"),
        (None, "full", "full"),
        ("none", "full", "none"),
        ("summary", "full", "summary"),
        ("full", "full", "full"),
        ("full", "summary", "summary"),
        ("summary", "none", "none"),
    ],
)
def test_a_request_may_ask_for_less_trace_than_the_operator_allows_never_for_more(asked, allowed, told):
    assert parse(most_trace=allowed, text_input=b"x", control={"trace": asked}).budget.trace == told


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "text_input: exactly one of"),
        ({"text_input": b"a", "messages": []}, "text_input: exactly one of"),
        ({"text_input": b""}, "text_input: must not be empty"),
        ({"text_input": b"\xff"}, "text_input: not UTF-8"),
        ({"messages": b"[{"}, "messages: not JSON"),
        ({"messages": []}, "messages: must hold at least one"),
        ({"messages": [{"role": "user"}]}, r"messages\.0\.content: required"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"messages\.0\.role: must be"),
        ({"text_input": b"a", "sampling_parameters": [1]}, "sampling_parameters: must be a JSON object"),
        (
            {"text_input": b"a", "sampling_parameters": {"temperature": "x"}},
            r"sampling_parameters\.temperature: must be a number in \[0, 2\], got 'x'",
        ),
        ({"text_input": b"a", "sampling_parameters": {"stop": 3}}, r"sampling_parameters\.stop: must be"),
        (
            {"text_input": b"a", "sampling_parameters": {"beam": 3}},
            r"sampling_parameters\.beam: unknown field",
        ),
        ({"text_input": b"a", "control": {"max_paths": 0}}, r"control\.max_paths: must be"),
        ({"text_input": b"a", "control": {"trace": "loud"}}, r"control\.trace: must be"),
        ({"text_input": b"a", "control": {"effort": []}}, r"control\.effort: must be a string, got \[\]"),
        ({"text_input": b"a", "control": {"effort": {}}}, r"control\.effort: must be a string, got {}"),
        (
            {"messages": [{"role": "user", "content": "\ud83d"}]},
            r"messages\.0\.content: must be Unicode text, but has \\ud83d",
        ),
        (
            {"text_input": b"a", "sampling_parameters": {"stop": ["a", "\udead"]}},
            r"sampling_parameters\.stop\.1: must be Unicode text",
        ),
        ({"messages": b"[" * 2000}, "messages: nested more than 64 levels deep"),
        ({"messages": b"[" * 65 + b"]" * 65}, "messages.*: nested more than 64 levels deep"),
    ],
)
def test_a_malformed_request_is_refused_by_the_name_of_its_field(tensors, message):
    with pytest.raises(RequestError, match="^" + message):
        parse(**tensors)


@pytest.mark.parametrize(
    ("parser", "field"),
    [
        ("parse_messages", "messages"),
        ("sampling_params", "sampling_parameters"),
        ("request_budget", "control"),
    ],
)
def test_a_fault_that_nobody_thought_of_is_refused_by_its_field_too(monkeypatch, parser, field):
    def surprised(*_):
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr(triton_request, parser, surprised)
    with pytest.raises(RequestError, match=f"^{field}: can't be read: OverflowError: int too large"):
        parse(messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("value", ["soon", 1, True])
def test_a_senseless_heartbeat_is_refused(value):
    with pytest.raises(RequestError, match=r"^heartbeat_ms: "):
        parse({"heartbeat_ms": value}, text_input=b"x")
