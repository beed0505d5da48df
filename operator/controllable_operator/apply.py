"""Make the children what they should be: write only what differs, delete what is no longer wanted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.client import Client
from controllable_operator.desired.common import label_selector, labels
from controllable_operator.drift import needs_write, stamped
from controllable_operator.errors import NameConflict
from controllable_operator.kinds import CHILD_KINDS, Kind, child_kind
from controllable_operator.metrics import WRITES

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
        if needs_write(manifest, current):
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
    client: Client, model: ControllableModel, wanted: list[Manifest], served: Iterable[Kind]
) -> dict[Key, Manifest]:
    """What exists: the children by their labels, and whatever has the name of a wanted one."""
    namespace = model.metadata.namespace
    selector = label_selector(labels(model.metadata.name))
    kinds = (*CHILD_KINDS, *served)
    live = {key_of(item): item for kind in kinds for item in client.list(kind, namespace, selector)}
    for manifest in wanted:
        if key_of(manifest) not in live:
            unlabelled = client.get(child_kind(manifest), namespace, manifest["metadata"]["name"])
            if unlabelled is not None:
                live[key_of(manifest)] = unlabelled
    return live


def apply(
    client: Client, model: ControllableModel, wanted: list[Manifest], served: Iterable[Kind] = ()
) -> dict[Key, Manifest]:
    """Make the children what `wanted` says. Returns the children as they are afterwards.

    `served`: the optional kinds that the cluster has.

    Raises:
        NameConflict, InvalidSpec, ApiError: see `plan` and `Client.apply`. It is safe to call again.
    """
    live = observe(client, model, wanted, served)
    todo = plan(model, wanted, live)
    for manifest in todo.applies:
        live[key_of(manifest)] = client.apply(child_kind(manifest), manifest)
        WRITES.labels(kind=manifest["kind"], verb="apply").inc()
    for manifest in todo.deletes:
        client.delete(child_kind(manifest), manifest)
        del live[key_of(manifest)]
        WRITES.labels(kind=manifest["kind"], verb="delete").inc()
    return live


def _may_take(model: ControllableModel, current: Manifest) -> bool:
    """Ours, or with our labels and nobody's: left by a model that was deleted with --cascade=orphan."""
    controller = _controller_uid(current)
    if controller is not None:
        return controller == model.metadata.uid
    return labels(model.metadata.name).items() <= current["metadata"].get("labels", {}).items()


def _controller_uid(manifest: Manifest) -> str | None:
    owners = manifest["metadata"].get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)
