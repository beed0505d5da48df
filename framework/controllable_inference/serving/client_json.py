"""JSON that a client wrote: decoded, or refused by the name of the field at fault."""

import json
from typing import Any

from controllable_inference.errors import RequestError

MAX_DEPTH = 64
"""Objects and arrays within each other. No request needs a tenth of it, and what walks much deeper documents
(a validator, `repr`) runs out of stack."""


def decode_json(text: str | bytes | bytearray, field: str) -> Any:
    """Decode `text`, the value of `field`.

    Raises RequestError where it is not JSON, is nested too deeply, or has a string that is no text: JSON can
    write half of a surrogate pair ("\\ud83d"), which neither UTF-8 nor a tokenizer can take any further.
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise RequestError(field, _TOO_DEEP) from None
    except ValueError as error:
        raise RequestError(field, f"not JSON: {error}") from None
    if fault := _fault(document, 0):
        within, message = fault
        raise RequestError(field + within, message)
    return document


_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_CONTAINERS = (dict, list)


def _fault(value: Any, depth: int) -> tuple[str, str] | None:
    """What is wrong with `value`: where in it, as in ".0.content", and what."""
    if isinstance(value, str):
        return _fault_of_text(value)
    if not isinstance(value, _CONTAINERS):
        return None
    if depth == MAX_DEPTH:
        return "", _TOO_DEEP
    if isinstance(value, dict) and (fault := _fault_of_text("".join(value))):
        return fault
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        if fault := _fault(part, depth + 1):
            return f".{name}{fault[0]}", fault[1]
    return None


def _fault_of_text(text: str) -> tuple[str, str] | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        return "", f"must be Unicode text, but has {half}, one half of a surrogate pair"
    return None
