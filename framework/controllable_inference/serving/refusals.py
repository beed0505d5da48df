"""How an engine error crosses Triton: an error code, and a message whose first word says what refused.

Triton's codes know no "too many requests", so the word before the colon carries it: the name of a field,
`queue`, `deadline`, `engine` or `server`. The frontend reads it back into an HTTP status.
"""

from typing import Literal

ErrorCode = Literal["INVALID_ARG", "UNAVAILABLE", "CANCELLED", "INTERNAL"]

QUEUE = "queue"
DEADLINE = "deadline"
ENGINE = "engine"

_KNOWN: dict[str, tuple[ErrorCode, str]] = {
    "RequestError": ("INVALID_ARG", ""),  # its message already starts with the field
    "QueueFull": ("UNAVAILABLE", QUEUE),
    "QueueTimeout": ("UNAVAILABLE", QUEUE),
    "DeadlineExceeded": ("UNAVAILABLE", DEADLINE),
    "EngineDead": ("UNAVAILABLE", ENGINE),
    "EngineClosed": ("UNAVAILABLE", ENGINE),
}


def refusal(error: str, message: str) -> tuple[ErrorCode, str]:
    """Triton's code and message for an engine error, by the name of its class."""
    code, who = _KNOWN.get(error, ("INTERNAL", ENGINE))
    return code, f"{who}: {message}" if who else message


def field_of(message: str) -> str:
    """The word before the first colon: a field, or who refused."""
    word = message.split(":", 1)[0]
    return word if word and " " not in word else ""
