"""From Kubernetes objects to what each restricted pod may still receive or send. Pure.

Source: the NetworkPolicy v1 API, https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Object = dict[str, Any]
Direction = Literal["ingress", "egress"]


@dataclass(frozen=True, order=True)
class Peer:
    """The other end of a connection: an address block without some blocks inside it."""

    cidr: str
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Ports:
    """A range of ports of one protocol; the whole protocol if `first` is 0."""

    protocol: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Allow:
    """One kind of traffic that is let through. None: any peer, any port."""

    peer: Peer | None
    ports: Ports | None


# (direction, address of the pod) → what is allowed. A pod without an entry is free in that direction.
Rules = dict[tuple[Direction, str], set[Allow]]


def compile_policies(
    pods: Sequence[Object], namespaces: Sequence[Object], policies: Iterable[Object]
) -> Rules:
    """Every restricted pod and what the policies that select it allow, together."""
    reachable = [pod for pod in pods if _has_own_address(pod)]
    rules: Rules = {}
    for policy in policies:
        spec, namespace = policy["spec"], policy["metadata"]["namespace"]
        selected = [
            p
            for p in reachable
            if _namespace(p) == namespace and matches(spec.get("podSelector"), _labels(p))
        ]
        for direction in _directions(spec):
            for pod in selected:
                allowed = rules.setdefault((direction, _address(pod)), set())
                for rule in spec.get(direction) or []:
                    allowed.update(_allowed(rule, direction, pod, namespace, reachable, namespaces))
    return rules


def matches(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(requirement, labels) for requirement in selector.get("matchExpressions") or [])


def _holds(requirement: Object, labels: dict[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _directions(spec: Object) -> list[Direction]:
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    directions: dict[str, Direction] = {"Ingress": "ingress", "Egress": "egress"}
    return [directions[t] for t in types]


def _allowed(
    rule: Object,
    direction: Direction,
    pod: Object,
    namespace: str,
    pods: Sequence[Object],
    namespaces: Sequence[Object],
) -> Iterator[Allow]:
    """What one rule of a policy allows to one pod.

    The name of a port means what the receiving pod calls so: the selected pod (ingress) or the peer (egress).
    A name that the receiver does not know allows nothing, and never everything.
    """
    peers = rule.get("from" if direction == "ingress" else "to") or []
    wanted = rule.get("ports") or [None]
    ends: Iterable[tuple[Peer | None, Object | None]]
    if peers:
        ends = [end for peer in peers for end in _ends(peer, namespace, pods, namespaces)]
    elif direction == "egress" and any(port and isinstance(port.get("port"), str) for port in wanted):
        # to anywhere, but by a port's name: only pods have such names
        ends = [(None, None), *((Peer(_address(p)), p) for p in pods)]
    else:
        ends = [(None, None)]
    for peer, peer_pod in ends:
        receiver = pod if direction == "ingress" else peer_pod
        for port in wanted:
            for ports in _ports(port, receiver):
                yield Allow(peer, ports)


def _ends(
    peer: Object, namespace: str, pods: Sequence[Object], namespaces: Sequence[Object]
) -> Iterator[tuple[Peer, Object | None]]:
    """The addresses that one entry of `from` or `to` stands for, with the pod behind each if there is one."""
    if block := peer.get("ipBlock"):
        if ":" not in block["cidr"]:  # an IPv6 block holds no address of this cluster
            yield Peer(block["cidr"], tuple(block.get("except") or ())), None
        return
    among = {namespace}
    if "namespaceSelector" in peer:
        among = {n["metadata"]["name"] for n in namespaces if matches(peer["namespaceSelector"], _labels(n))}
    for pod in pods:
        if _namespace(pod) in among and matches(peer.get("podSelector"), _labels(pod)):
            yield Peer(_address(pod)), pod


def _ports(wanted: Object | None, receiver: Object | None) -> Iterator[Ports | None]:
    if wanted is None:
        yield None
        return
    protocol, port = wanted.get("protocol", "TCP"), wanted.get("port")
    if port is None:
        yield Ports(protocol)
    elif isinstance(port, int):
        yield Ports(protocol, port, wanted.get("endPort", port))
    elif receiver is not None:
        for declared in _declared_ports(receiver):
            if declared.get("name") == port and declared.get("protocol", "TCP") == protocol:
                yield Ports(protocol, declared["containerPort"], declared["containerPort"])


def _declared_ports(pod: Object) -> Iterator[Object]:
    sidecars = [c for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    for container in [*pod["spec"]["containers"], *sidecars]:
        yield from container.get("ports") or []


def _has_own_address(pod: Object) -> bool:
    status = pod.get("status") or {}
    return bool(
        status.get("podIP")
        and status.get("phase") not in ("Succeeded", "Failed")  # its address may be another pod's by now
        and not pod["spec"].get("hostNetwork")
    )


def _address(pod: Object) -> str:
    return str(pod["status"]["podIP"])


def _namespace(pod: Object) -> str:
    return str(pod["metadata"]["namespace"])


def _labels(item: Object) -> dict[str, str]:
    return item["metadata"].get("labels") or {}
