"""Finding models: one by its name, or all of them, with errors that help."""

import difflib
from typing import Any

from controllable_operator.desired.common import label_selector, selector_labels
from controllable_operator.kinds import MODEL, POD
from controllable_operator.plugin.connection import METADATA_ONLY, Connection
from controllable_operator.plugin.errors import NotFound, NotServed, PluginError

Manifest = dict[str, Any]

_NOT_INSTALLED = (
    "this cluster knows no ControllableModel; install the definitions and the operator "
    "(helm install controllable-crds charts/controllable-crds, then controllable-operator), "
    "or choose another cluster with --context"
)


def model(connection: Connection, namespace: str, name: str) -> Manifest:
    """One model.

    Raises:
        NotFound: there is none; the message names those that are near.
    """
    try:
        found = connection.get(MODEL.path(namespace, name))
    except NotServed as error:
        raise NotServed(_NOT_INSTALLED) from error
    except NotFound as error:
        raise NotFound(_not_found(connection, namespace, name)) from error
    return {"apiVersion": MODEL.api_version, "kind": MODEL.name} | found


def models(connection: Connection, namespace: str | None, selector: str = "") -> list[Manifest]:
    """All models of a namespace, or of all of them if None."""
    query = {"labelSelector": selector} if selector else {}
    try:
        return connection.list(MODEL.path(namespace), **query)
    except NotServed as error:
        raise NotServed(_NOT_INSTALLED) from error


def pods(connection: Connection, namespace: str, name: str) -> list[Manifest]:
    """The pods of a model, by name."""
    selector = label_selector(selector_labels(name))
    found = connection.list(POD.path(namespace), labelSelector=selector)
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def nearest(name: str, here: list[str], elsewhere: list[tuple[str, str]]) -> str:
    """What to do about a name that is not there: the same in another namespace, or one that is near."""
    same = sorted(namespace for namespace, other in elsewhere if other == name)
    if same:
        return f"there is one in namespace {', '.join(same[:3])}: add -n {same[0]}"
    near = difflib.get_close_matches(name, here, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if here:
        more = " …" if len(here) > 5 else ""
        return f"there are {', '.join(sorted(here)[:5])}{more}"
    return "there are none at all in this namespace; see `kubectl controllable fleet -A`"


def _not_found(connection: Connection, namespace: str, name: str) -> str:
    def names(scope: str | None) -> list[tuple[str, str]]:
        try:
            listed = connection.list(MODEL.path(scope), METADATA_ONLY)
        except PluginError:
            return []  # who may read one model by name need not be allowed to list them
        return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listed]

    everywhere = names(None) or names(namespace)
    here = [other for scope, other in everywhere if scope == namespace]
    return f"there is no model {name} in namespace {namespace}; {nearest(name, here, everywhere)}"
