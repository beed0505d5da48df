"""Which quota keeps a claim from being made, by the API server's own reckoning."""

from typing import Any

import pytest
from controllable_operator.quota import refusal

DEVICES = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
CLAIMS = "count/resourceclaims.resource.k8s.io"


def asked(count: int, device_class: str = "gpu.nvidia.com") -> dict[str, Any]:
    return {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": count}


PAIR = {"requests": [{"name": "gpus", "exactly": asked(2)}]}
EITHER = {"requests": [{"name": "gpus", "firstAvailable": [asked(2), asked(4)]}]}


def quota(hard: dict[str, str], used: dict[str, str], name: str = "team") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"hard": hard, "used": used}}


def test_devices_beyond_the_limit_are_refused_in_the_api_servers_words() -> None:
    assert refusal(PAIR, [quota({DEVICES: "3"}, {DEVICES: "2"})]) == (
        f"exceeded quota: team, requested: {DEVICES}=2, used: {DEVICES}=2, limited: {DEVICES}=3"
    )


def test_claims_are_counted_as_well() -> None:
    told = refusal(PAIR, [quota({CLAIMS: "1", DEVICES: "8"}, {CLAIMS: "1", DEVICES: "2"})])
    assert told == f"exceeded quota: team, requested: {CLAIMS}=1, used: {CLAIMS}=1, limited: {CLAIMS}=1"


def test_of_alternatives_the_largest_is_charged() -> None:
    assert refusal(EITHER, [quota({DEVICES: "3"}, {})])
    assert not refusal(EITHER, [quota({DEVICES: "4"}, {})])


@pytest.mark.parametrize(
    "hard", [{DEVICES: "4"}, {"requests.nvidia.com/gpu": "0"}, {"pods": "0"}, {"mig" + DEVICES: "0"}, {}]
)
def test_what_has_room_or_is_of_other_things_is_in_nobodys_way(hard: dict[str, str]) -> None:
    assert refusal(PAIR, [quota(hard, {DEVICES: "2"})]) is None


def test_each_quota_of_the_namespace_counts() -> None:
    found = refusal(PAIR, [quota({DEVICES: "8"}, {}), quota({DEVICES: "1"}, {}, "tight")])
    assert found
    assert found.startswith("exceeded quota: tight")


def test_a_quota_that_nobody_has_looked_at_yet_is_no_obstacle() -> None:
    assert refusal(PAIR, [{"metadata": {"name": "new"}, "spec": {"hard": {DEVICES: "0"}}}]) is None
