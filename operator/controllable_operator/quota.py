"""Which ResourceQuota keeps a claim on devices from being made. Pure.

A Deployment tells why it may not make pods. Of a claim that may not be made only an Event tells, and its pod
waits without a word: so the quotas of the namespace are asked, by the API server's own reckoning.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Manifest = Mapping[str, Any]

REMEDY = "ask for fewer GPUs or replicas, or raise the quota"
_CLAIMS = "count/resourceclaims.resource.k8s.io"
_OF_CLASS = ".deviceclass.resource.k8s.io/devices"


def refusal(devices: Manifest, quotas: Iterable[Manifest]) -> str | None:
    """What the API server says to a claim on these devices, None where no quota is in its way.

    Args:
        devices: of a ResourceClaim's spec.
        quotas: all ResourceQuotas of its namespace.
    """
    wanted = charged(devices)
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        exceeded = [
            name
            for name, amount in sorted(wanted.items())
            if name in hard and parse_quantity(used.get(name, "0")) + amount > parse_quantity(hard[name])
        ]
        if exceeded:
            told = (
                ",".join(f"{name}={amounts.get(name, 0)}" for name in exceeded)
                for amounts in (wanted, used, hard)
            )
            requested, taken, limited = told
            return (
                f"exceeded quota: {quota['metadata']['name']}, requested: {requested}, used: {taken}, "
                f"limited: {limited}"
            )
    return None


def charged(devices: Manifest) -> Counter[str]:
    """What a claim is charged for: itself, and of each class the most devices that it may be allocated."""
    amounts = Counter({_CLAIMS: 1})
    for request in devices["requests"]:
        worst: Counter[str] = Counter()
        for asked in request.get("firstAvailable") or [request["exactly"]]:
            worst |= Counter({f"{asked['deviceClassName']}{_OF_CLASS}": asked["count"]})
        amounts += worst
    return amounts
