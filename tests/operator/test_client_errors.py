"""Which of our errors an answer of the API server is."""

import json
from typing import Any

import pytest
import yaml
from controllable_operator.client import _error, _yaml
from controllable_operator.errors import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidSpec,
    NotFound,
    QuotaExceeded,
)

UNKNOWN_FIELD = "failed to create typed patch object (ns/nano): .spec.x: field not declared in schema"
GOING = [{"reason": "NamespaceTerminating"}]


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (422, {"message": "Deployment is invalid"}, InvalidSpec),
        (500, {"message": UNKNOWN_FIELD}, InvalidSpec),
        (500, {"message": "failed calling webhook"}, ApiError),
        (409, {"message": "changed meanwhile"}, Conflict),
        (403, {"message": "may not"}, Forbidden),
        (403, {"message": "exceeded quota"}, QuotaExceeded),
        (403, {"message": "being terminated", "details": {"causes": GOING}}, NotFound),
        (404, {"message": "no such thing"}, NotFound),
    ],
)
def test_an_answer_has_its_error(status: int, answer: dict[str, Any], expected: type[Exception]) -> None:
    error = _error(status, json.dumps(answer).encode(), None, "Deployment nano")
    assert type(error) is expected
    assert str(error) == f"Deployment nano: {answer['message']}"


def test_an_answer_that_is_no_status_is_told_as_it_is() -> None:
    error = _error(503, b"upstream connect error", "7", "Deployment nano")
    assert isinstance(error, ApiError)
    assert (str(error), error.status, error.retry_after) == (
        "Deployment nano: upstream connect error",
        503,
        7,
    )


@pytest.mark.parametrize(
    "text", ["🙂", "a𐀀b🙂🙂", "\\ud83d\\ude42", "\\🙂", "\x00\x7f\x85\u2028\ufeff", "ünïcödé"]
)
def test_any_text_reaches_the_api_server_as_it_is(text: str) -> None:
    assert yaml.safe_load(_yaml({"metadata": {"labels": {text: text}}})) == {
        "metadata": {"labels": {text: text}}
    }
