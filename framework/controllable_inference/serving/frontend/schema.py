"""Requests of OpenAI's API, as far as they mean something here, and what they ask of the engine.

Fields that only OpenAI's own service can honour are accepted and ignored, as other servers do. Fields that
would change the answer are refused by name where they can't be honoured. All else is unknown and refused.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from controllable_inference.core.request import Effort, Messages, RequestBudget, SamplingParams
from controllable_inference.errors import RequestError
from controllable_inference.serving.frontend.errors import ApiError, invalid, openai_name
from controllable_inference.serving.parameters import ChatMessage, request_error

StopText = Annotated[str, StringConstraints(min_length=1)]

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    # field: the values under which it asks for nothing
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "none"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "web_search_options": (None,),
}
_REASONS = {"n": "only 1 is supported: the paths of one request already are its samples, voted on"}
_IGNORED = frozenset(
    {
        "metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "safety_identifier",
        "service_tier", "store", "user", "verbosity",
    }
)  # fmt: skip


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StreamOptions(_Request):
    """`include_usage`: one more chunk at the end, with the usage."""

    include_usage: bool = False
    include_obfuscation: bool = False  # OpenAI's own; there is nothing to obfuscate


class ControlOptions(_Request):
    """The extension object `controllable`: how much thinking the request may take, and what it tells."""

    coefficient: float | None = None
    paths: int | None = None
    max_paths: int | None = None
    max_tokens: int | None = None
    thinking_tokens: int | None = None
    deadline: float | None = None
    trace: Literal["none", "summary", "full"] | None = None


class CompletionRequest(_Request):
    """POST /v1/completions."""

    model: str
    prompt: str | list[str]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    controllable: ControlOptions | None = None

    def question(self) -> str:
        """The prompt, of which there is one a request."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(prompts) != 1 or not prompts[0]:
            raise invalid("prompt", "must be one non-empty string")
        return prompts[0]

    def token_cap(self) -> int | None:
        return self.max_tokens

    def effort(self) -> Effort | None:
        return None


class ChatRequest(_Request):
    """POST /v1/chat/completions."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: Effort | None = None
    seed: int | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    controllable: ControlOptions | None = None

    def question(self) -> Messages:
        """The conversation in the form that chat templates take."""
        return [message.flat() for message in self.messages]

    def token_cap(self) -> int | None:
        """`max_completion_tokens`, or `max_tokens` as it was called before; not both."""
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise invalid("max_tokens", "give either max_tokens or max_completion_tokens, not both")
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    def effort(self) -> Effort | None:
        return self.reasoning_effort


AnyRequest = ChatRequest | CompletionRequest
R = TypeVar("R", ChatRequest, CompletionRequest)


def parse(kind: type[R], document: Any) -> R:
    """Validate a decoded body; ApiError 400 names the field at fault."""
    if not isinstance(document, dict):
        raise invalid("body", "must be a JSON object")
    for name, harmless in _UNSUPPORTED.items():
        if name in document and document[name] not in harmless:
            raise invalid(name, _REASONS.get(name, "not supported"))
    meant = {
        name: value for name, value in document.items() if name not in _IGNORED and name not in _UNSUPPORTED
    }
    try:
        request = kind.model_validate(meant)
    except ValidationError as error:
        fault = request_error(error)
        raise invalid(fault.field, fault.message) from error
    if request.stream_options is not None and not request.stream:
        raise invalid("stream_options", "only allowed when stream is true")
    return request


def sampling(request: AnyRequest) -> dict[str, Any]:
    """sampling_parameters for Triton, checked against the engine's ranges."""
    given = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "max_tokens": request.token_cap(),
        "seed": request.seed,
        "stop": [request.stop] if isinstance(request.stop, str) else request.stop,
    }
    newer = getattr(request, "max_completion_tokens", None) is not None
    cap_name = "max_completion_tokens" if newer else "max_tokens"
    return _checked(SamplingParams, given, {"max_tokens": cap_name})


def control(request: AnyRequest) -> dict[str, Any]:
    """The `control` input for Triton, checked against the engine's ranges."""
    options = request.controllable or ControlOptions()
    return _checked(RequestBudget, {**options.model_dump(), "effort": request.effort()}, {})


def _checked(
    kind: type[SamplingParams] | type[RequestBudget], given: dict[str, Any], names: dict[str, str]
) -> dict[str, Any]:
    given = {name: value for name, value in given.items() if value is not None}
    try:
        kind(**given)
    except RequestError as error:
        name = openai_name(error.field)
        raise invalid(names.get(name, name), error.message) from error
    return given


def check_model(asked: str, served: Sequence[str]) -> None:
    """OpenAI's 404 for a model that isn't here, with those that are."""
    if asked not in served:
        names = ", ".join(f"`{name}`" for name in served)
        message = f"The model `{asked}` does not exist; this server serves {names}"
        raise ApiError(404, message, param="model", code="model_not_found")
