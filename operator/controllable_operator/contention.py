"""A peer that changes back what was repaired: repair it ever more rarely, and say who it is.

Drift is repaired at once. Somebody who undoes that again and again (another controller, a pipeline, a
person) is not to be fought: both would write for ever, and the last one before a look would seem to win.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from controllable_operator.desired.common import MANAGER
from controllable_operator.drift import Path

Manifest = dict[str, Any]
Model = tuple[str, str]  # namespace, name
Child = tuple[str, str]  # kind, name

# Writes of one and the same manifest that are made at once; then this long a pause, doubled each time.
_FREE_WRITES = 3
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
# Once it was left alone this long, the quarrel is over.
_PEACE_SECONDS = 300.0


@dataclass(frozen=True)
class _Writes:
    """How often the manifest with this hash was written, when last, and what somebody made of it since."""

    hash: str
    count: int
    last: float
    dispute: str = ""


class Contention:
    """Remembers the writes of children. One call at a time for each model."""

    def __init__(self) -> None:
        self._writes: dict[Model, dict[Child, _Writes]] = {}

    def pause(self, model: Model, child: Child, hash_: str, now: float) -> float:
        """Seconds until this manifest may be written again, 0 if now."""
        writes = self._current(model, child, hash_, now)
        if writes is None or writes.count < _FREE_WRITES:
            return 0.0
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (writes.count - _FREE_WRITES))
        return max(0.0, writes.last + pause - now)

    def disputed(self, model: Model, child: Child, hash_: str, now: float) -> bool:
        """Whether it was written so often that the next write is a dispute."""
        writes = self._current(model, child, hash_, now)
        return writes is not None and writes.count >= _FREE_WRITES

    def wrote(self, model: Model, child: Child, hash_: str, now: float, dispute: str = "") -> None:
        """Note a write. `dispute` says what it was about, if somebody keeps changing it back."""
        writes = self._current(model, child, hash_, now) or _Writes(hash_, 0, now)
        told = dispute or writes.dispute
        written = replace(writes, count=writes.count + 1, last=now, dispute=told)
        self._writes.setdefault(model, {})[child] = written

    def disputes(self, model: Model, now: float) -> list[str]:
        """What is disputed about a model's children at the moment."""
        writes = self._writes.get(model, {}).values()
        return sorted(w.dispute for w in writes if w.dispute and now - w.last < _PEACE_SECONDS)

    def peace_in(self, model: Model, now: float) -> float | None:
        """Seconds until the next dispute counts as over, None if there is none."""
        writes = self._writes.get(model, {}).values()
        ends = [w.last + _PEACE_SECONDS - now for w in writes if w.dispute and now - w.last < _PEACE_SECONDS]
        return min(ends, default=None)

    def forget(self, model: Model) -> None:
        """The model is gone."""
        self._writes.pop(model, None)

    def _current(self, model: Model, child: Child, hash_: str, now: float) -> _Writes | None:
        writes = self._writes.get(model, {}).get(child)
        if writes is None or writes.hash != hash_ or now - writes.last >= _PEACE_SECONDS:
            return None
        return writes


def dispute(live: Manifest, path: Path) -> str:
    """One sentence: which field of the live object is changed back, and by whom."""
    kind, name = live["kind"], live["metadata"]["name"]
    return (
        f"{kind} {name}: {'.'.join(path)} is changed again and again by {_culprit(live, path)}; "
        f"the operator changes it back ever more rarely. Make the change in the model, or stop it there"
    )


def removal(kind: str, name: str) -> str:
    """One sentence: a child is deleted again and again. Nothing in the cluster tells by whom."""
    return (
        f"{kind} {name} is deleted again and again; the operator makes it anew ever more rarely. "
        f"The API server's audit log tells who does it"
    )


def _culprit(live: Manifest, path: Path) -> str:
    """The manager of a field, or else whoever of the others wrote last."""
    others = [
        entry
        for entry in live["metadata"].get("managedFields", [])
        if entry.get("manager") != MANAGER and not entry.get("subresource")
    ]
    if not others:
        return "an unknown client"
    # Who owns most of the path; among equals, who wrote last.
    entry = max(others, key=lambda e: (_depth(e.get("fieldsV1", {}), path), _time(e.get("time"))))
    return f"field manager {entry['manager']} ({entry.get('operation', 'Update')})"


def _depth(fields: dict[str, Any], path: Path) -> int:
    """How far into `path` a manager's fields reach."""
    depth = 0
    for part in path:
        following = fields.get(f"f:{part}")
        if following is None:
            # an item of a list: k:{"port":80,…}
            field, _, value = part.partition("=")
            keys = [k for k in fields if f'"{field}":{value}' in k or f'"{field}":"{value}"' in k]
            following = fields[keys[0]] if keys else None
        if following is None:
            break
        fields, depth = following, depth + 1
    return depth


def _time(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
