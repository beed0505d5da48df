"""What a client may say about one request, decoded from JSON. Shared by Triton's model and the frontend.

Ranges are the engine's own (core/request.py); here JSON becomes those types, and every fault a
RequestError that names the field the way the client wrote it.
"""

from dataclasses import fields, replace
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from controllable_inference.core.request import RequestBudget, SamplingParams, Trace
from controllable_inference.errors import RequestError

T = TypeVar("T", SamplingParams, RequestBudget)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TextPart(_Part):
    """One piece of a message's content; text is the only kind this model reads."""

    type: Literal["text"]
    text: str


class ChatMessage(_Part):
    """One turn of a conversation, as OpenAI's chat API writes it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    name: str | None = None
    # What clients send back with an earlier answer; none of it is for the model to read.
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None
    tool_call_id: str | None = None

    def flat(self) -> dict[str, str]:
        """The form that chat templates take: text in one string, `developer` as `system`."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


_MESSAGES = TypeAdapter(list[ChatMessage])


def parse_messages(document: Any, field: str = "messages") -> list[ChatMessage]:
    """Decode OpenAI chat messages; there must be at least one."""
    try:
        messages = _MESSAGES.validate_python(document)
    except ValidationError as error:
        raise request_error(error, field) from error
    if not messages:
        raise RequestError(field, "must hold at least one message")
    return messages


def sampling_params(document: Any, field: str = "sampling_parameters") -> SamplingParams:
    """Decode {temperature, top_p, top_k, max_tokens, seed, stop}, all optional."""
    given = _known_fields(SamplingParams, document, field)
    stop = given.get("stop", ())
    if not isinstance(stop, str | list | tuple):
        raise RequestError(f"{field}.stop", f"must be a string or a list of strings, got {stop!r}")
    return SamplingParams(**given)


def request_budget(document: Any, most_trace: Trace, field: str = "control") -> RequestBudget:
    """Decode the fields of RequestBudget, all optional; `trace` within `most_trace`."""
    given = _known_fields(RequestBudget, document, field)
    effort = given.get("effort", "")
    if not isinstance(effort, str):
        raise RequestError(f"{field}.effort", f"must be a string, got {_shown(effort)}")
    budget = RequestBudget(**given)
    return replace(budget, trace=trace_within(budget.trace, most_trace))


def trace_within(asked: Trace | None, most: Trace) -> Trace:
    """What a request is told about its paths: what it asks for, but never more than the operator allows."""
    return most if asked is None else min(asked, most, key=("none", "summary", "full").index)


def _known_fields(kind: type[T], document: Any, field: str) -> dict[str, Any]:
    """The fields of `document` that are set; null means not given, as in OpenAI's API."""
    if not isinstance(document, dict):
        raise RequestError(field, f"must be a JSON object, got {_shown(document)}")
    known = {entry.name for entry in fields(kind)}
    for name in document:
        if name not in known:
            raise RequestError(f"{field}.{name}", f"unknown field; known are {', '.join(sorted(known))}")
    return {name: value for name, value in document.items() if value is not None}


def request_error(error: ValidationError, prefix: str = "") -> RequestError:
    """One fault of a pydantic error in words for a client: the field as written, and what it got."""
    # Of a union every member complains; the one that got furthest is what the client meant.
    faults = error.errors(include_url=False)
    first = max(faults, key=lambda fault: (len(fault["loc"]), not fault["type"].endswith("_type")))
    # A union reports a fault under the name of the member that it tried; clients never wrote that.
    written = [str(part) for part in first["loc"] if isinstance(part, int) or _is_field(str(part))]
    field = ".".join(part for part in (prefix, *written) if part) or "body"
    if first["type"] == "extra_forbidden":
        return RequestError(field, "unknown field")
    if first["type"] == "missing":
        return RequestError(field, "required")
    message = first["msg"].replace("Input should be", "must be")
    return RequestError(field, f"{message}, got {_shown(first['input'])}")


def _is_field(name: str) -> bool:
    return name.islower() and name.isidentifier() and name not in {"str", "int", "float", "bool"}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
