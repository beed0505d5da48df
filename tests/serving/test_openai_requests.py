"""What the frontend accepts, ignores and refuses, and what it asks the engine for."""

import pytest
from controllable_inference.serving.frontend import schema
from controllable_inference.serving.frontend.errors import ApiError, from_triton
from controllable_inference.serving.refusals import refusal


def chat(**fields):
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return schema.parse(schema.ChatRequest, document)


def asked(request):
    return schema.sampling(request), schema.control(request)


def test_a_bare_chat_request_leaves_everything_to_the_engine():
    assert asked(chat()) == ({}, {})


def test_openai_fields_become_engine_parameters():
    sampling, control = asked(
        chat(temperature=0, top_p=0.9, seed=1, stop="x", max_completion_tokens=9, reasoning_effort="low")
    )
    assert sampling == {"temperature": 0, "top_p": 0.9, "seed": 1, "stop": ["x"], "max_tokens": 9}
    assert control == {"effort": "low"}


def test_the_extension_object_becomes_control():
    _, control = asked(
        chat(controllable={"coefficient": 0.5, "max_paths": 2, "max_tokens": 9, "deadline": 1.5})
    )
    assert control == {"coefficient": 0.5, "max_paths": 2, "max_tokens": 9, "deadline": 1.5}


def test_null_means_not_given_and_what_only_openai_can_honour_is_ignored():
    assert asked(chat(temperature=None, stop=None, user="u", metadata={"a": "b"}, store=True)) == ({}, {})


def test_an_earlier_answer_may_come_back_as_it_was_given():
    earlier = {"role": "assistant", "content": "4", "refusal": None, "reasoning_content": "2+2=4"}
    turns = [{"role": "user", "content": "2+2"}, earlier, {"role": "user", "content": "3+3"}]
    assert asked(chat(messages=turns)) == ({}, {})


def test_fields_that_ask_for_nothing_pass():
    assert asked(
        chat(
            n=1,
            logprobs=False,
            presence_penalty=0,
            tools=[],
            response_format={"type": "text"},
            logit_bias=None,
        )
    ) == ({}, {})


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"n": 2}, "n", "only 1 is supported"),
        ({"logprobs": True}, "logprobs", "not supported"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({"surprise": 1}, "surprise", "unknown field"),
        ({"controllable": {"lanes": 3}}, "controllable.lanes", "unknown field"),
        ({"temperature": "hot"}, "temperature", "got 'hot'"),
        ({"temperature": 2.5}, "temperature", "in [0, 2]"),
        ({"top_p": 0}, "top_p", "in (0, 1]"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "at least 1"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "not both"),
        ({"max_tokens": True}, "max_tokens", "got True"),
        ({"seed": 1.5}, "seed", "got 1.5"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort", "got 'extreme'"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when stream"),
        ({"messages": []}, "messages", "at least 1"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type",
            "image",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": []}]},
            "messages.0.tool_calls",
            "must be",
        ),
        ({"controllable": {"deadline": 0}}, "controllable.deadline", "greater than 0"),
        ({"controllable": {"max_paths": 0}}, "controllable.max_paths", "at least 1"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_the_name_the_client_wrote(fields, param, words):
    with pytest.raises(ApiError) as refusal:
        asked(chat(**fields))
    assert refusal.value.status == 400
    assert refusal.value.param == param
    assert words in refusal.value.message
    assert refusal.value.body()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(ApiError, match="must be a JSON object"):
        schema.parse(schema.ChatRequest, [])


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [""]])
def test_a_completion_takes_one_prompt(prompt):
    request = schema.parse(schema.CompletionRequest, {"model": "m", "prompt": prompt})
    with pytest.raises(ApiError, match="prompt: must be one non-empty string"):
        request.question()


def test_another_models_name_is_not_found():
    with pytest.raises(ApiError, match="`nano` does not exist; this server serves `other`, `law`") as refusal:
        schema.check_model("nano", ["other", "law"])
    assert (refusal.value.status, refusal.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("code", "message", "status", "param"),
    [
        ("INVALID_ARGUMENT", "sampling_parameters.top_k: must be", 400, "top_k"),
        ("INVALID_ARGUMENT", "control.effort: must be", 400, "reasoning_effort"),
        ("INVALID_ARGUMENT", "control.max_paths: must be", 400, "controllable.max_paths"),
        ("UNAVAILABLE", "queue: holds 320 requests", 429, None),
        ("UNAVAILABLE", "deadline: 2 s passed", 504, "controllable.deadline"),
        ("UNAVAILABLE", "failed to connect to all addresses", 503, None),
        ("INTERNAL", "Stub process 'controllable_0_0' is not healthy.", 503, None),
        ("NOT_FOUND", "Request for unknown model", 503, None),
        ("INTERNAL", "engine: ZeroDivisionError at line 3 of secret.py", 500, None),
    ],
)
def test_tritons_errors_become_http_statuses_and_tell_nothing_of_the_inside(code, message, status, param):
    error = from_triton(code, message)
    assert (error.status, error.param) == (status, param)
    assert status < 500 or "secret" not in error.message
    assert ("retry-after" in error.response().headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("text_input: has 300 tokens, of 256 that fit", "prompt: has 300 tokens, of 256 that fit"),
        ("messages: has 300 tokens: too many", "messages: has 300 tokens: too many"),
        ("control.effort: must be one of none, low", "reasoning_effort: must be one of none, low"),
        ("sampling_parameters.top_k: must be a whole number", "top_k: must be a whole number"),
        (
            "[request id: 7] input 'text_input' must be given",
            "[request id: 7] input 'text_input' must be given",
        ),
    ],
)
def test_a_refusal_calls_the_field_what_the_client_called_it(message, told):
    assert from_triton("INVALID_ARGUMENT", message).message == told


def test_a_deadline_of_the_clients_own_is_no_full_server():
    error = from_triton(*refusal("DeadlineExceeded", "the deadline of 2 s passed; allow more time"))
    assert error.status == 504
    assert error.body()["error"] == {
        "message": "the deadline of 2 s passed; allow more time",
        "type": "server_error",
        "param": "controllable.deadline",
        "code": "deadline_exceeded",
    }
    waited = from_triton(*refusal("QueueTimeout", "no place came free within 30 s; try again later"))
    assert (waited.status, waited.code) == (429, "queue_full")
