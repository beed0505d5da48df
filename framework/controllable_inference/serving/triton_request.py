"""A Triton request, decoded: tensor values in, what the engine takes out. Pure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from controllable_inference.core.request import Messages, RequestBudget, SamplingParams, Trace
from controllable_inference.errors import RequestError
from controllable_inference.serving.client_json import decode_json
from controllable_inference.serving.parameters import parse_messages, request_budget, sampling_params

HEARTBEAT_PARAMETER = "heartbeat_ms"
PROBE_PARAMETER = "probe"


@dataclass(frozen=True)
class TritonRequest:
    """One request as the engine takes it.

    stream: deltas as they come; else one response with everything, at the end.
    adapter: name of the domain adapter that the request is for, None for the model by itself.
    heartbeat: seconds of silence after which an empty response says that the request is alive; None for never
    (HTTP's unary `generate` takes one response only).
    probe: it only asks whether the model answers, so metrics do not tell of it.
    """

    prompt: str | Messages
    stream: bool
    sampling: SamplingParams
    budget: RequestBudget
    adapter: str | None
    heartbeat: float | None
    probe: bool

    @property
    def prompt_field(self) -> str:
        """The input that the prompt came in."""
        return "text_input" if isinstance(self.prompt, str) else "messages"


def parse_triton_request(
    tensors: Mapping[str, Any], parameters: Mapping[str, Any], most_trace: Trace
) -> TritonRequest:
    """Decode input tensors (bytes or bool by name, absent where not given) and request parameters.

    most_trace: the most that a request may be told about its paths, and what it is told unless it says less.
    Raises RequestError, whose message starts with the name of the field at fault.
    """
    with _blaming("messages" if "messages" in tensors else "text_input"):
        prompt = _prompt(tensors)
    with _blaming("sampling_parameters"):
        sampling = sampling_params(_json(tensors, "sampling_parameters", {}))
    with _blaming("control"):
        budget = request_budget(_json(tensors, "control", {}), most_trace)
    with _blaming("adapter"):
        adapter = _text(tensors, "adapter") if "adapter" in tensors else ""
    stream = bool(tensors.get("stream", False))
    probe = parameters.get(PROBE_PARAMETER) is True
    return TritonRequest(prompt, stream, sampling, budget, adapter or None, _heartbeat(parameters), probe)


@contextmanager
def _blaming(field: str) -> Iterator[None]:
    """Whatever a field's value makes go wrong is the fault of that value, also where nobody thought of it."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(field, f"can't be read: {type(error).__name__}: {error}") from error


def _prompt(tensors: Mapping[str, Any]) -> str | Messages:
    given = [name for name in ("text_input", "messages") if name in tensors]
    if len(given) != 1:
        raise RequestError("text_input", "exactly one of text_input and messages must be given")
    if given == ["messages"]:
        return [message.flat() for message in parse_messages(_json(tensors, "messages", []))]
    text = _text(tensors, "text_input")
    if not text:
        raise RequestError("text_input", "must not be empty")
    return text


def _heartbeat(parameters: Mapping[str, Any]) -> float | None:
    value = parameters.get(HEARTBEAT_PARAMETER)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 100 <= value <= 3_600_000:
        raise RequestError(HEARTBEAT_PARAMETER, f"must be a whole number in [100, 3600000], got {value!r}")
    return value / 1000


def _text(tensors: Mapping[str, Any], name: str) -> str:
    try:
        return bytes(tensors[name]).decode()
    except UnicodeDecodeError as error:
        raise RequestError(name, f"not UTF-8: {error.reason} at byte {error.start}") from None


def _json(tensors: Mapping[str, Any], name: str, default: Any) -> Any:
    return decode_json(_text(tensors, name), name) if name in tensors else default
