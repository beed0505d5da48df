"""JSON that a client wrote: decoded, or refused by the name of the field at fault."""

import json
from typing import Any

from controllable_inference.errors import RequestError
from controllable_inference.unicode import fault_of

MAX_DEPTH = 64
"""Objects and arrays within each other. No request needs a tenth of it, and what walks much deeper documents
(a validator, `repr`) runs out of stack."""


def decode_json(text: str | bytes | bytearray, field: str) -> Any:
    """Decode `text`, the value of `field`.

    Raises RequestError where it is not JSON, is nested too deeply, or has a string that is no text.
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
        return _in(fault_of(value))
    if not isinstance(value, _CONTAINERS):
        return None
    if depth == MAX_DEPTH:
        return "", _TOO_DEEP
    if isinstance(value, dict) and (fault := _in(fault_of("".join(value)))):
        return fault
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        if fault := _fault(part, depth + 1):
            return f".{name}{fault[0]}", fault[1]
    return None


def _in(fault: str | None) -> tuple[str, str] | None:
    return None if fault is None else ("", fault)
