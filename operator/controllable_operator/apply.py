"""Make the children what they should be: write only what differs, delete what is no longer wanted."""

import time
from dataclasses import dataclass
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.client import Client
from controllable_operator.contention import Contention, dispute, removal
from controllable_operator.desired.common import labels
from controllable_operator.drift import APPLIED_HASH, difference, stamped
from controllable_operator.errors import NameConflict
from controllable_operator.kinds import CHILD_KINDS, OPTIONAL_CHILD_KINDS, child_kind
from controllable_operator.metrics import WRITES
from controllable_operator.store import Store

Manifest = dict[str, Any]
Key = tuple[str, str]  # kind, name


@dataclass(frozen=True)
class Plan:
    """What has to be written, in order, and what has to go."""

    applies: list[Manifest]
    deletes: list[Manifest]


def key_of(manifest: Manifest) -> Key:
    """Kind and name: what tells the children of one namespace apart."""
    return manifest["kind"], manifest["metadata"]["name"]


def plan(model: ControllableModel, wanted: list[Manifest], live: dict[Key, Manifest]) -> Plan:
    """Compare what is wanted with what is there.

    Args:
        wanted: manifests from `desired`.
        live: what exists, by key; includes foreign objects that happen to have the name of a child.

    Raises:
        NameConflict: one of them is not ours. Then nothing at all is to be written.
    """
    applies = []
    for manifest in map(stamped, wanted):
        current = live.get(key_of(manifest))
        if current is None:
            applies.append(manifest)
            continue
        if not _may_take(model, current):
            kind, name = key_of(current)
            raise NameConflict(
                f"{kind} {name} exists and does not belong to this model; it is left alone. "
                f"Delete or rename it, or give the model another name."
            )
        if difference(manifest, current) is not None:
            # With the uid, a successor that somebody made meanwhile is refused instead of taken over.
            applies.append(
                manifest | {"metadata": manifest["metadata"] | {"uid": current["metadata"]["uid"]}}
            )
    keys = {key_of(manifest) for manifest in wanted}
    deletes = [
        current
        for key, current in live.items()
        if key not in keys
        and _controller_uid(current) == model.metadata.uid
        and "deletionTimestamp" not in current["metadata"]
    ]
    return Plan(applies, deletes)


def observe(
    client: Client, store: Store, model: ControllableModel, wanted: list[Manifest]
) -> dict[Key, Manifest]:
    """What exists: the children, as the watches know them, and whatever has the name of a wanted one.

    The watches see what carries our label. So before the first write of a child the API server is asked for
    that name: it may be a foreign object's.
    """
    namespace, name = model.metadata.namespace, model.metadata.name
    kinds = (*CHILD_KINDS, *OPTIONAL_CHILD_KINDS)
    live = {key_of(item): item for kind in kinds for item in store.owned(kind, namespace, name)}
    for manifest in wanted:
        if key_of(manifest) not in live:
            kind = child_kind(manifest)
            known = store.get(kind, namespace, manifest["metadata"]["name"])
            unlabelled = known or client.get(kind, namespace, manifest["metadata"]["name"])
            if unlabelled is not None:
                live[key_of(manifest)] = unlabelled
    return live


@dataclass(frozen=True)
class Applied:
    """The children as they are afterwards, and in how many seconds something is still to be written."""

    children: dict[Key, Manifest]
    again_in: float | None


def apply(
    client: Client, store: Store, contention: Contention, model: ControllableModel, wanted: list[Manifest]
) -> Applied:
    """Make the children what `wanted` says.

    Raises:
        NameConflict, InvalidSpec, ApiError: see `plan` and `Client.apply`. It is safe to call again.
    """
    live = observe(client, store, model, wanted)
    todo = plan(model, wanted, live)
    owner, now = (model.metadata.namespace, model.metadata.name), time.monotonic()
    pauses = []
    for manifest in todo.applies:
        key, kind = key_of(manifest), child_kind(manifest)
        hash_ = manifest["metadata"]["annotations"][APPLIED_HASH]
        if pause := contention.pause(owner, key, hash_, now):
            pauses.append(pause)
            continue
        told = ""
        if contention.disputed(owner, key, hash_, now):
            told = _dispute(client, manifest)
        live[key] = client.apply(kind, manifest)
        store.put(kind, live[key])
        contention.wrote(owner, key, hash_, now, told)
        WRITES.labels(kind=kind.name, verb="apply").inc()
    for manifest in todo.deletes:
        kind = child_kind(manifest)
        client.delete(kind, manifest)
        store.remove(kind, manifest)
        del live[key_of(manifest)]
        WRITES.labels(kind=kind.name, verb="delete").inc()
    return Applied(live, min(pauses, default=None))


def _dispute(client: Client, manifest: Manifest) -> str:
    """Who keeps changing back what this manifest says. Only the API server has the managers of fields."""
    kind, name = child_kind(manifest), manifest["metadata"]["name"]
    current = client.get(kind, manifest["metadata"]["namespace"], name)
    if current is None:
        return removal(kind.name, name)
    path = difference(manifest, current)
    return dispute({"kind": kind.name} | current, path) if path else ""


def _may_take(model: ControllableModel, current: Manifest) -> bool:
    """Ours, or with our labels and nobody's: left by a model that was deleted with --cascade=orphan."""
    controller = _controller_uid(current)
    if controller is not None:
        return controller == model.metadata.uid
    return labels(model.metadata.name).items() <= current["metadata"].get("labels", {}).items()


def _controller_uid(manifest: Manifest) -> str | None:
    owners = manifest["metadata"].get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)
