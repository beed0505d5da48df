"""Errors as OpenAI's API writes them: {"error": {"message", "type", "param", "code"}}."""

from starlette.requests import Request
from starlette.responses import JSONResponse

from controllable_inference.serving.refusals import DEADLINE, QUEUE, field_of

RETRY_AFTER = "1"


class ApiError(Exception):
    """What a client gets instead of an answer."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    @property
    def type(self) -> str:
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def body(self) -> dict[str, object]:
        """The JSON document that clients of OpenAI's API know how to read."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP response; busy and unavailable say when to come back."""
        headers = {"retry-after": RETRY_AFTER} if self.status in (429, 503) else {}
        return JSONResponse(self.body(), self.status, headers)


def invalid(param: str, message: str) -> ApiError:
    """A request that the client has to change."""
    return ApiError(400, f"{param}: {message}", param=param)


def from_triton(code: str, message: str) -> ApiError:
    """An error that Triton or its model gave, by gRPC status name and message."""
    who = field_of(message)
    if code == "INVALID_ARGUMENT":
        if not who:
            return ApiError(400, message)
        return invalid(openai_name(who), message.removeprefix(f"{who}: "))
    if who == QUEUE:
        return ApiError(429, message, code="queue_full")
    if who == DEADLINE:
        told = message.removeprefix(f"{who}: ")
        return ApiError(504, told, param="controllable.deadline", code="deadline_exceeded")
    if code in ("UNAVAILABLE", "NOT_FOUND", "CANCELLED") or "is not healthy" in message:
        return ApiError(503, "the model is not available at the moment", code="model_unavailable")
    if code == "DEADLINE_EXCEEDED":
        return ApiError(504, message, code="timeout")
    return ApiError(500, "the model failed on this request", code="model_failed")


def openai_name(field: str) -> str:
    """An engine field as the client of this API wrote it."""
    if field.startswith("control."):
        return "reasoning_effort" if field == "control.effort" else "controllable." + field[len("control.") :]
    return "prompt" if field == "text_input" else field.removeprefix("sampling_parameters.")


async def handle_api_error(_: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for ApiError."""
    assert isinstance(error, ApiError)
    return error.response()


async def handle_unexpected(_: Request, __: Exception) -> JSONResponse:
    """Starlette's handler for all else; the traceback goes to the log, never to the client."""
    return ApiError(500, "internal error", code="internal_error").response()
