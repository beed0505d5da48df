"""kopf: watches that feed the store. Nothing else happens here.

Only `kopf.on.event` is used, as it writes nothing: no finalizer that blocks a deletion while the operator is
away, no annotation that a GitOps tool would see as drift. Whatever kopf's other handlers remember between
events, `reconcile` reads from the store: created, updated, resumed after a restart, deleted, or a changed
child are all the same to it.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import kopf

from controllable_operator.discovery import OPTIONAL_GROUPS
from controllable_operator.kinds import WATCHED_KINDS, Kind
from controllable_operator.operator import Operator
from controllable_operator.watches import RENEW_SECONDS, selector

# What tells that a kind of others, or a server of metrics, came or went.
_DEFINITIONS = (
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "v1", "apiservices"),
)
_PAGE = 200


class _Backoffs:
    """Seconds between kopf's attempts; without an end, as an API server may be away for hours."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.2, 0.5, 1, 2, 5), itertools.repeat(10.0))


def registry(operator: Operator) -> kopf.OperatorRegistry:
    """All handlers, bound to `operator`."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**arguments: Any) -> kopf.AiohttpSession | None:
        info = kopf.login_via_client(**arguments)
        if info is None:
            return None
        return kopf.AiohttpSession(server=info.server, aiohttp_session=operator.session(info))

    @kopf.on.startup(registry=handlers, backoff=2)
    async def start(**_: Any) -> None:
        await operator.start()

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        await operator.stop()

    @kopf.on.probe(registry=handlers, id="operator")
    async def probe(**_: Any) -> str:
        try:
            return await operator.check()
        except RuntimeError as error:
            raise kopf.PermanentError(str(error)) from error

    async def told(watched: Kind, event: kopf.RawEvent, **_: Any) -> None:
        operator.watches.told(watched, event["type"], event["object"])

    for kind in WATCHED_KINDS:
        handler = partial(told, watched=kind)
        kopf.on.event(kind.group, kind.version, kind.plural, registry=handlers, id=kind.plural)(handler)

    async def offer_changed(spec: kopf.Spec, **_: Any) -> None:
        if spec.get("group") in OPTIONAL_GROUPS:
            operator.definition_changed()

    for definition in _DEFINITIONS:
        kopf.on.event(*definition, registry=handlers)(offer_changed)
    return handlers


def settings() -> kopf.OperatorSettings:
    """kopf's own settings: alone, watching only what is ours, never giving up."""
    result = kopf.OperatorSettings()
    result.peering.standalone = True
    result.posting.enabled = False
    # kopf keeps an object's last event for so long; at a start it sees all objects in a few seconds
    result.queueing.idle_timeout = 0.2
    result.networking.error_backoffs = _Backoffs()
    result.watching.server_timeout = RENEW_SECONDS
    result.watching.chunk_size = _PAGE
    for kind in WATCHED_KINDS:
        if labels := selector(kind):
            result.watching.label_selectors[(kind.group, kind.version, kind.plural)] = labels
    return result
