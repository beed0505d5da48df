"""Drift is repaired at once; who brings it back again and again is told, and not fought."""

import itertools

import pytest
from controllable_operator.contention import Contention, dispute, removal

NANO = ("test", "nano")
CHILD = ("Deployment", "nano")


def written(contention: Contention, seconds: float, hash_: str = "h") -> list[float]:
    """When it is written, if somebody changes it back every second and it is looked at each time."""
    times = []
    for tick in range(int(seconds)):
        now = float(tick)
        if contention.pause(NANO, CHILD, hash_, now) == 0:
            contention.wrote(NANO, CHILD, hash_, now, "told" if tick > 2 else "")
            times.append(now)
    return times


def test_a_peer_that_reverts_every_second_is_met_ever_more_rarely() -> None:
    times = written(Contention(), 600)
    assert times[:3] == [0, 1, 2]  # an accident or two are mended at once
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60
    assert len(times) < 20


def test_a_changed_wish_is_written_at_once() -> None:
    contention = Contention()
    written(contention, 10)
    assert contention.pause(NANO, CHILD, "h", 10.0) > 0
    assert contention.pause(NANO, CHILD, "another", 10.0) == 0


def test_models_do_not_share_their_quarrels() -> None:
    contention = Contention()
    written(contention, 10)
    assert contention.pause(("test", "other"), CHILD, "h", 10.0) == 0
    assert contention.pause(NANO, ("Service", "nano"), "h", 10.0) == 0


def test_a_quarrel_is_told_until_it_has_been_quiet_for_a_while() -> None:
    contention = Contention()
    last = written(contention, 10)[-1]
    assert contention.disputes(NANO, 10.0) == ["told"]
    ends_in = contention.peace_in(NANO, 10.0)
    assert ends_in is not None
    assert contention.disputes(NANO, 10.0 + ends_in) == []
    assert contention.peace_in(NANO, 10.0 + ends_in) is None
    assert contention.pause(NANO, CHILD, "h", 10.0 + ends_in) == 0
    assert last < 10.0 + ends_in


def test_a_model_that_is_gone_is_forgotten() -> None:
    contention = Contention()
    written(contention, 10)
    contention.forget(NANO)
    assert contention.disputes(NANO, 10.0) == []
    assert contention.pause(NANO, CHILD, "h", 10.0) == 0


def managed(manager: str, fields: dict, time: str = "2026-01-01T00:00:00Z", **more: str) -> dict:
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, "time": time} | more


PORT = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:targetPort": {}}}}}


@pytest.mark.parametrize(
    ("path", "who"),
    [
        (("spec", "replicas"), "scaler"),
        (("spec", "ports", "port=80", "targetPort"), "mesh"),
        (("spec", "strategy"), "mesh"),  # a field that is nobody's now: whoever of the others wrote last
    ],
)
def test_the_owner_of_the_field_is_named(path: tuple[str, ...], who: str) -> None:
    live = {
        "kind": "Deployment",
        "metadata": {
            "name": "nano",
            "managedFields": [
                managed("controllable-operator", {"f:spec": {"f:replicas": {}}}, "2026-01-03T00:00:00Z"),
                managed("scaler", {"f:spec": {"f:replicas": {}}}),
                managed("mesh", PORT, "2026-01-02T00:00:00Z"),
                managed("kubelet", {"f:status": {}}, "2026-01-04T00:00:00Z", subresource="status"),
            ],
        },
    }
    text = dispute(live, path)
    assert f"field manager {who} (Update)" in text
    assert f"Deployment nano: {'.'.join(path)} " in text


def test_of_a_deletion_nobody_knows_the_author() -> None:
    assert "Service nano is deleted again and again" in removal("Service", "nano")
    assert "an unknown client" in dispute({"kind": "Service", "metadata": {"name": "nano"}}, ("spec",))
