"""What to do about each reason of each condition: docs/conditions.md, as data and ready to paste."""

from typing import Any, NamedTuple

from controllable_operator.plugin.marks import BAD, BUSY, IDLE, OK


class Advice(NamedTuple):
    """health: bad (somebody has to act), busy (it goes on by itself), ok or idle (as it was asked for)."""

    health: str
    text: str


_PODS = "kubectl -n {namespace} get pods -l app.kubernetes.io/instance={name}"
_LOGS = "kubectl -n {namespace} logs -l app.kubernetes.io/instance={name} --all-containers --prefix"
_EDIT = "kubectl -n {namespace} edit cmodel {name}"
_ASK = 'kubectl controllable -n {namespace} ask {name} "…"'

# By reason. Where two conditions mean different things by one, by "Condition/Reason" as well. {name} and
# {namespace} are the model's.
ADVICE: dict[str, Advice] = {
    # Ready
    "Serving": Advice(OK, f"ask it something: {_ASK}"),
    "ScaledToZero": Advice(OK, "set spec.replicas: kubectl -n {namespace} scale cmodel/{name} --replicas=1"),
    "Suspended": Advice(OK, "take spec.suspend away to start it again"),
    "Progressing": Advice(BUSY, "wait: kubectl -n {namespace} wait --for=condition=Ready cmodel/{name}"),
    "ModelNotFound": Advice(
        BAD,
        f"mend the uri in spec.model that the message names, its revision, digest or secret ({_EDIT}); it is "
        "fetched again with back-off",
    ),
    "ModelFetchFailed": Advice(
        BAD, f"the message says what broke: network, server or disk; it goes on by itself, see {_LOGS}"
    ),
    "ModelLoadFailed": Advice(
        BAD, f"the message is the engine's own: mend what it names ({_EDIT}), or read the whole log: {_LOGS}"
    ),
    "ImagePullFailed": Advice(
        BAD, f"mend spec.serving.image ({_EDIT}), or the nodes' way to its registry and its pull secret"
    ),
    "InsufficientCapacity": Advice(
        BAD,
        "ask for less (spec.gpu, spec.serving.resources), add nodes, or raise the quota "
        "(kubectl -n {namespace} describe quota)",
    ),
    "PodsNotReady": Advice(BAD, f"a pod fell silent and is restarted by itself; its log says why: {_LOGS}"),
    "InvalidSpec": Advice(BAD, f"mend the field that the message names: {_EDIT}"),
    "NameConflict": Advice(
        BAD, "delete or rename the object that the message names, or give the model another name"
    ),
    "Forbidden": Advice(
        BAD, "give the operator the right that the message names (its Helm chart has the whole role)"
    ),
    "ApiError": Advice(
        BAD, "mend what the API server's message names, often a webhook; the operator tries on"
    ),
    "Conflict": Advice(
        BUSY, "wait: somebody else changed the object at the same time; the operator tries on"
    ),
    "NotFound": Advice(BUSY, "wait: something, perhaps the namespace, is being deleted"),
    "NotLeading": Advice(BUSY, "wait: another of the operator's pods has taken over"),
    "NotReconciled": Advice(
        BAD,
        "see whether the operator runs, and what it logs: "
        "kubectl get deployments -A -l app.kubernetes.io/name=controllable-operator",
    ),
    # ModelLoaded
    "Loaded": Advice(OK, f"ask it something: {_ASK}"),
    "Pending": Advice(BUSY, f"wait for a node; if it takes long, see what the pods wait for: {_PODS}"),
    "Fetching": Advice(BUSY, f"wait for the weights; how far they are: {_LOGS}"),
    "Loading": Advice(BUSY, "wait for the engine to load the weights"),
    "LoadFailed": Advice(BAD, f"read the log of the pods: {_LOGS}"),
    "EngineDead": Advice(
        BAD,
        f"the engine answered before and is silent now; it is restarted by itself, its log says why: {_LOGS}",
    ),
    "NoPods": Advice(BUSY, f"wait for the first pod; if none comes: {_PODS.replace('pods', 'deployments')}"),
    # TopologySatisfied
    "Satisfied": Advice(OK, "nothing: NVLink connects the GPUs of every replica"),
    "Guaranteed": Advice(OK, "nothing: no replica starts without NVLink between its GPUs"),
    "NotRequested": Advice(IDLE, "set spec.gpu.nvlink where a replica has several GPUs"),
    "Fallback": Advice(
        IDLE,
        f"nothing, if it is fast enough; set spec.gpu.nvlink to required to have NVLink or no pod: {_EDIT}",
    ),
    "CliqueTooSmall": Advice(BAD, f"ask for as many GPUs as the message names, or add nodes: {_EDIT}"),
    "TopologySatisfied/Unknown": Advice(
        IDLE, "nothing, if the driver is being restarted; else see kubectl get resourceslices"
    ),
    "MechanismUnavailable": Advice(
        BAD, "see what there is with kubectl controllable capabilities; mend what the message names"
    ),
    # FitsMemory
    "Fits": Advice(OK, "nothing"),
    "TooLarge": Advice(
        BAD, f"take GPUs with more memory, a smaller precision, or fewer paths or tokens: {_EDIT}"
    ),
    "Indivisible": Advice(BAD, f"set spec.gpu.count to one of the numbers that the message names: {_EDIT}"),
    "Unknown": Advice(IDLE, "nothing: the engine tells if the model does not fit"),
    # ScalingActive
    "Active": Advice(OK, "nothing: the autoscaler sets spec.replicas"),
    "Disabled": Advice(IDLE, "nothing, unless you want it on"),
    "MetricsUnavailable": Advice(
        BAD, "give the autoscaler the metrics that the message names; see `kubectl controllable capabilities`"
    ),
    "BudgetExhausted": Advice(BAD, "raise spec.scaling.maxGPUs if more replicas are worth their GPUs"),
    # Monitored
    "Monitored": Advice(OK, "nothing: Prometheus scrapes the pods"),
    "CRDsMissing": Advice(IDLE, "install Prometheus operator if the model is to be watched"),
    # Contested
    "FieldsReverted": Advice(
        BAD,
        "let only one of the two write what the message names: the operator, or who keeps changing it back",
    ),
    # Ready, of a rollout
    "RolledBack": Advice(
        BAD, f"the revision before serves on; mend what the message names and change the spec: {_EDIT}"
    ),
}


def advice(kind: str, reason: str, namespace: str, name: str) -> Advice | None:
    """What to do about a condition of type `kind` with this reason; None where nothing is known."""
    found = ADVICE.get(f"{kind}/{reason}") or ADVICE.get(reason)
    return found and Advice(found.health, found.text.format(namespace=namespace, name=name))


# True is bad news for these, False for all others.
BAD_WHEN_TRUE = {"Stalled", "Contested"}


def condition_health(condition: dict[str, Any]) -> str:
    """How a condition is, by its status and its reason."""
    kind, reason = condition.get("type", ""), condition.get("reason", "")
    if (condition.get("status") == "True") != (kind in BAD_WHEN_TRUE):
        return OK
    if kind in BAD_WHEN_TRUE:
        return BAD
    found = ADVICE.get(f"{kind}/{reason}") or ADVICE.get(reason)
    return found.health if found else BAD
