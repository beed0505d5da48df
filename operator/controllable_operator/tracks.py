"""Where the revisions of a model stand in the cluster, and what that means for its children. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import CANARY, ENGINE_CONFIG_HASH, TRACK_LABEL, content_hash
from controllable_operator.desired.config_map import ENGINE_FILE
from controllable_operator.desired.deployment import canary_name, template_hash
from controllable_operator.desired.revision import Revision, Tracks, kept_revision
from controllable_operator.kinds import CONFIG_MAP, DEPLOYMENT, REVISION
from controllable_operator.pods import Stage, reports
from controllable_operator.rollout import Seen, Share, canary_replicas, goes_everywhere

Manifest = dict[str, Any]

# A pod that failed so often will not come up by itself.
_ATTEMPTS = 3


@dataclass(frozen=True)
class Standing:
    """The model's children and pods as they are, with regard to its newest revision."""

    model: ControllableModel
    newest: Revision
    children: list[Manifest]
    pods: list[Manifest]
    share: Share

    def tracks(self) -> Tracks:
        """Which revisions there are to be, by what is recorded."""
        rollout, recorded = self.model.spec.rollout, self.model.status.rollout
        stable = self._stable()
        if stable is None or goes_everywhere(rollout, recorded, self.newest.hash, stable.hash):
            stable = self.newest
        weight = recorded.weight if recorded else 0
        pods = canary_replicas(rollout, recorded, self.newest.hash, self.share)
        return Tracks(stable, self.newest, pods, weight, self._engines())

    def seen(self) -> Seen:
        """What `next_step` has to know, but for the traffic."""
        stable = self._stable()
        ready = sum(report.stage is Stage.READY for report in reports(self.canary_pods()))
        return Seen(
            newest=self.newest.hash,
            stable=stable.hash if stable else None,
            settled=self._settled(),
            canary_ready=ready,
            failure=self._failure(),
        )

    def canary_pods(self) -> list[Manifest]:
        """The canary's pods, of the newest revision."""
        return [pod for pod in self.pods if _on_canary(pod) and template_hash(pod) == self.newest.hash]

    def _stable(self) -> Revision | None:
        """The revision that serves, as far as it is known what it is made of."""
        deployment = self._deployment(self.model.metadata.name)
        serving = template_hash(deployment["spec"]["template"]) if deployment else None
        if serving == self.newest.hash:
            return self.newest
        kept = [kept_revision(child) for child in self._of(REVISION.name)]
        older = {revision.hash: revision for revision in kept if revision.hash != self.newest.hash}
        # Should somebody have deleted or disfigured the Deployment, only one can have been in it.
        return older.get(serving or "") or (next(iter(older.values())) if len(older) == 1 else None)

    def _settled(self) -> bool:
        stable = reports([pod for pod in self.pods if not _on_canary(pod)])
        newest = [report for report in stable if report.template_hash == self.newest.hash]
        ready = sum(report.stage is Stage.READY for report in newest)
        deployment = self._deployment(self.model.metadata.name)
        return (
            deployment is not None
            and not self._is_of_another_revision(deployment)
            and len(newest) == len(stable)
            and ready >= self.share.replicas
        )

    def _failure(self) -> str | None:
        for report in reports(self.canary_pods()):
            if report.problem and report.problem.attempts >= _ATTEMPTS:
                return f"a pod of the new revision failed {_ATTEMPTS} times: {report.problem.message}"
        deployment = self._deployment(canary_name(self.model))
        # What it tells of an older revision tells nothing of this one.
        if not deployment or not _is_observed(deployment) or self._is_of_another_revision(deployment):
            return None
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
                return "the pods of the new revision did not become ready in time"
        return None

    def _is_of_another_revision(self, deployment: Manifest) -> bool:
        return template_hash(deployment["spec"]["template"]) != self.newest.hash

    def _engines(self) -> frozenset[str]:
        """Texts of engine.json that a pod may still read, today or when it starts anew."""
        deployments = self._of(DEPLOYMENT.name)
        templates = [deployment["spec"]["template"] for deployment in deployments]
        read = {_engine_hash(manifest) for manifest in [*self.pods, *templates]}
        texts = frozenset(
            child["data"][ENGINE_FILE] for child in self._of(CONFIG_MAP.name) if _is_kept(child)
        )
        # As long as a Deployment replaces pods, it may make some anew of any template it had.
        if not all(map(_is_rolled_out, deployments)):
            return texts
        return frozenset(text for text in texts if content_hash(text) in read)

    def _deployment(self, name: str) -> Manifest | None:
        return next((d for d in self._of(DEPLOYMENT.name) if d["metadata"]["name"] == name), None)

    def _of(self, kind: str) -> Iterable[Manifest]:
        return [child for child in self.children if child["kind"] == kind]


def _on_canary(pod: Manifest) -> bool:
    return bool(pod["metadata"].get("labels", {}).get(TRACK_LABEL) == CANARY)


def _engine_hash(manifest: Manifest) -> str | None:
    return manifest["metadata"].get("annotations", {}).get(ENGINE_CONFIG_HASH)


def _is_kept(config_map: Manifest) -> bool:
    return ENGINE_FILE in config_map.get("data", {}) and "deletionTimestamp" not in config_map["metadata"]


def _is_rolled_out(deployment: Manifest) -> bool:
    status = deployment.get("status", {})
    updated = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    return bool(updated and _is_observed(deployment))


def _is_observed(deployment: Manifest) -> bool:
    seen = deployment.get("status", {}).get("observedGeneration", 0)
    return bool(seen >= deployment["metadata"].get("generation", 0))
