"""What the fields of the API are made of: the base model, and the string forms that Kubernetes uses."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """A part of the resource. Python names are snake_case, JSON names are camelCase.

    Unknown fields are ignored, because during an upgrade the CRD is newer than the running operator: its
    defaults for fields to come must not turn every model into an invalid one.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """The JSON form: camelCase names, absent where None."""
        return self.model_dump(by_alias=True, exclude_none=True)


def rule(expression: str, message: str, field_path: str | None = None) -> dict[str, str]:
    """One CEL rule for `rules`. `field_path` (relative, like `.secretRef`) says which field is to blame."""
    entry = {"rule": expression, "message": message}
    return entry | {"fieldPath": field_path} if field_path else entry


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """CEL rules in the form that `json_schema_extra` takes."""
    return {"x-kubernetes-validations": list(entries)}


# Kubernetes forbids floats in an API because their text differs between languages.
UnitFraction = Annotated[str, Field(pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$", max_length=20)]
Coefficient = Annotated[str, Field(pattern=r"^([01](\.[0-9]+)?|2(\.0+)?)$", max_length=20)]

Duration = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", max_length=32)]

_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$",
            "x-kubernetes-int-or-string": True,
        }
    ),
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def seconds(duration: str) -> float:
    """Seconds of a Kubernetes duration such as `30s` or `1m30s`.

    Raises:
        ValueError: the text is not a duration.
    """
    if not re.fullmatch(rf"(?:{_DURATION_PART.pattern})+", duration):
        raise ValueError(f"not a duration: {duration!r}; write it like 30s, 1m30s or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(duration))


def timestamp(moment: datetime) -> str:
    """A time with a zone as Kubernetes writes it, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
