"""`kubectl controllable ask`: what is sent, and what becomes of the stream that comes back."""

import io
import json
from typing import Any

import pytest
from controllable_operator.plugin import ask
from controllable_operator.plugin.errors import ModelSilent
from rich.console import Console


def sse(*documents: dict[str, Any], done: bool = True) -> list[bytes]:
    """Lines as the frontend sends them, with a sign of life in between."""
    lines = [b": alive\n", b"\n"]
    lines += [b"data: " + json.dumps(document).encode() + b"\n" for document in documents]
    return [*lines, *([b"data: [DONE]\n"] if done else [])]


def delta(**parts: str) -> dict[str, Any]:
    return {"choices": [{"delta": parts, "finish_reason": None}]}


LAST = {
    "choices": [{"delta": {}, "finish_reason": "stop"}],
    "controllable": {
        "paths_started": 4,
        "paths_pruned": 2,
        "tokens_saved": 30,
        "confidence": 0.93,
        "seconds": 0.5,
        "trace": [{"path": 1}],
    },
}
USAGE = {"choices": [], "usage": {"completion_tokens": 120, "prompt_tokens": 9}}
STREAM = sse(
    delta(role="assistant", content=""),
    delta(reasoning_content="6*7"),
    delta(content="4"),
    delta(content="2"),
    LAST,
    USAGE,
)


def test_a_plain_question_leaves_all_else_to_the_model() -> None:
    assert ask.request("nano", "6*7?") == {
        "model": "nano",
        "messages": [{"role": "user", "content": "6*7?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_options_are_sent_as_the_frontend_takes_them() -> None:
    body = ask.request("nano", "6*7?", effort="none", max_paths=3, seed=0)
    assert (body["reasoning_effort"], body["seed"], body["controllable"]) == ("none", 0, {"max_paths": 3})


def test_an_adapter_is_asked_by_its_name_as_the_models() -> None:
    assert ask.request("nano", "6*7?", adapter="law")["model"] == "law"


def test_thinking_and_answer_are_shown_as_they_come_and_kept_apart() -> None:
    stream = io.StringIO()
    answer = ask.show(ask.chunks(STREAM), Console(file=stream, width=80))
    assert stream.getvalue() == "6*7\n\n42\n"
    assert (answer.thinking, answer.text, answer.finish_reason) == ("6*7", "42", "stop")


def test_what_it_took_is_told_in_a_line() -> None:
    answer = ask.show(ask.chunks(STREAM), None)
    assert (
        ask.account(answer, 1.0) == "4 paths started, 2 pruned, 120 tokens, about 30 saved, 93% sure, 0.50 s"
    )


def test_a_server_that_tells_no_numbers_still_gets_an_account() -> None:
    answer = ask.Answer(text="42", finish_reason="length", usage={"completion_tokens": 5})
    assert ask.account(answer, 1.25) == "5 tokens, 1.25 s; cut off at its token limit"


def test_the_document_for_machines_has_everything_but_the_trace() -> None:
    document = ask.show(ask.chunks(STREAM), None).to_json("nano")
    assert document["answer"] == "42"
    assert document["controllable"]["paths_pruned"] == 2
    assert "trace" not in document["controllable"]


def test_an_answer_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    ask.show(ask.chunks(sse(delta(content="\x1b[2Jgone"))), Console(file=stream, width=80))
    assert stream.getvalue() == "␛[2Jgone\n"


def test_chunks_that_are_no_json_are_told() -> None:
    with pytest.raises(ModelSilent, match="makes no sense"):
        ask.show(ask.chunks([b"data: {\n"]), None)


def test_an_error_in_the_stream_is_told_in_the_models_words() -> None:
    with pytest.raises(ModelSilent, match="the model broke off: the engine is gone; ask again"):
        ask.show(ask.chunks(sse({"error": {"message": "the engine is gone"}})), None)


def test_a_stream_that_just_ends_is_no_answer() -> None:
    with pytest.raises(ModelSilent, match="broke off in the middle"):
        ask.show(ask.chunks(sse(delta(content="4"), done=False)), None)
