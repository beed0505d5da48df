"""Conditions in the status of Kubernetes' own objects."""

from typing import Any


def condition(manifest: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    """The condition of this type, {} where there is none, or no object."""
    conditions = ((manifest or {}).get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), {})
