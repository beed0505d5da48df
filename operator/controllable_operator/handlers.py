"""kopf: watches that turn events into names for the controller. Nothing else happens here.

Only `kopf.on.event` is used, as it writes nothing: no finalizer that blocks a deletion while the operator is
away, no annotation that a GitOps tool would see as drift. Whatever kopf's other handlers remember between
events, `reconcile` reads from the cluster: created, updated, resumed after a restart, deleted, or a changed
child are all the same to it.
"""

from typing import Any

import kopf

from controllable_operator.api import GROUP, KIND, PLURAL, VERSION
from controllable_operator.controller import Controller
from controllable_operator.desired.common import INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER
from controllable_operator.discovery import OPTIONAL_GROUPS, Discovery
from controllable_operator.kinds import CHILD_KINDS, OPTIONAL_CHILD_KINDS, POD

# What tells that a kind of others, or a server of metrics, came or went.
_DEFINITIONS = (
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
)
_WATCHED = (*CHILD_KINDS, *OPTIONAL_CHILD_KINDS, POD)


def registry(controller: Controller, discovery: Discovery) -> kopf.OperatorRegistry:
    """All handlers, bound to `controller` and `discovery`."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(kopf.login_via_client)

    @kopf.on.startup(registry=handlers)
    async def start(**_: Any) -> None:
        await discovery.start()
        controller.start()

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        await discovery.stop()
        await controller.stop()

    @kopf.on.probe(registry=handlers, id="workers")
    async def workers(**_: Any) -> str:
        if not controller.alive:
            raise kopf.PermanentError("a worker has ended")
        return "alive"

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def model_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        if namespace and name:
            controller.note(namespace, name)

    async def child_changed(namespace: str | None, body: kopf.Body, **_: Any) -> None:
        owner = owner_name(dict(body.metadata))
        if namespace and owner:
            controller.note(namespace, owner)

    for kind in _WATCHED:
        kopf.on.event(*_selector(kind.api_version), kind.plural, registry=handlers)(child_changed)

    async def offer_changed(spec: kopf.Spec, **_: Any) -> None:
        if spec.get("group") in OPTIONAL_GROUPS:
            discovery.note()

    for definition in _DEFINITIONS:
        kopf.on.event(*definition, registry=handlers)(offer_changed)
    return handlers


def settings() -> kopf.OperatorSettings:
    """kopf's own settings: alone, and watching only what is ours."""
    result = kopf.OperatorSettings()
    result.peering.standalone = True
    for kind in _WATCHED:
        key = (*_selector(kind.api_version), kind.plural)
        result.watching.label_selectors[key] = f"{MANAGED_BY_LABEL}={MANAGER}"
    return result


def owner_name(metadata: dict[str, Any]) -> str | None:
    """Name of the model that a child belongs to: by its owner, or else by its label, as pods have others."""
    for owner in metadata.get("ownerReferences", []):
        if owner.get("kind") == KIND and owner.get("apiVersion", "").startswith(f"{GROUP}/"):
            return str(owner["name"])
    name = metadata.get("labels", {}).get(INSTANCE_LABEL)
    return str(name) if name else None


def _selector(api_version: str) -> tuple[str, str]:
    group, _, version = api_version.rpartition("/")
    return group, version
