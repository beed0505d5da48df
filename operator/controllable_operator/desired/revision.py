"""Revisions of a model's pods: what they are made of, kept in the cluster while one may be needed again.

The spec tells the newest revision only. While a canary of it is watched, the older one serves, and has to be
mended, scaled and restarted like any other: so each revision is written down in a ControllerRevision.
"""

from dataclasses import dataclass
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import TEMPLATE_HASH, metadata
from controllable_operator.desired.config_map import engine_text
from controllable_operator.desired.deployment import pod_template
from controllable_operator.placement.placed import Placed
from controllable_operator.settings import Settings


@dataclass(frozen=True)
class Revision:
    """What the pods of one revision are made of: their template, and the text of their engine.json."""

    template: dict[str, Any]
    engine: str

    @property
    def hash(self) -> str:
        """What tells revisions apart; it stands on every pod."""
        return str(self.template["metadata"]["annotations"][TEMPLATE_HASH])


def newest_revision(model: ControllableModel, settings: Settings, placed: Placed | None = None) -> Revision:
    """The revision that the model's spec asks for.

    Raises:
        InvalidSpec: no pods can be made from this spec.
    """
    return Revision(pod_template(model, settings, placed), engine_text(model))


def controller_revision(model: ControllableModel, revision: Revision) -> dict[str, Any]:
    """The manifest that keeps a revision."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(model, f"{model.metadata.name}-{revision.hash}"),
        # A number is asked for, but revisions here are told apart by their hash: one may well come back.
        "revision": 1,
        "data": {"template": revision.template, "engine": revision.engine},
    }


def kept_revision(manifest: dict[str, Any]) -> Revision:
    """The revision in a ControllerRevision."""
    return Revision(manifest["data"]["template"], manifest["data"]["engine"])


@dataclass(frozen=True)
class Tracks:
    """Which revision serves, and which one is watched beside it.

    stable: of the pods that serve. newest: what the spec asks for, and what a canary is of.
    canary_replicas: None where there is no canary. canary_weight: its percent of the requests.
    engines: texts of engine.json that pods of yet other revisions may still read.
    """

    stable: Revision
    newest: Revision
    canary_replicas: int | None = None
    canary_weight: int = 0
    engines: frozenset[str] = frozenset()

    @property
    def revisions(self) -> list[Revision]:
        """Both revisions, or the one that is both."""
        return list({revision.hash: revision for revision in (self.stable, self.newest)}.values())
