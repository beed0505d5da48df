"""Volumes of weights on a real node: a cache that replicas share and that outlives them, and a mounted image.

Pods run busybox in the place of fetch: what is asked here is what the kubelet mounts, not what is downloaded.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_fixtures import PAUSE, Kubectl, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

BUSYBOX = "localhost/busybox:1"
STAY = "trap exit TERM; sleep 3600 & wait"  # until it is told to go, and no longer
PODS = "app.kubernetes.io/instance=nano"


def nano(script: str, uri: str = "hf://org/repo", **spec: Any) -> dict[str, Any]:
    source = {"uri": uri} | spec.pop("model", {})
    fetch = {"name": "fetch", "image": BUSYBOX, "command": ["sh", "-c", script]}
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {"model": source, "podTemplate": {"spec": {"initContainers": [fetch]}}} | spec,
    }


def condition(kubectl: Kubectl, kind: str) -> dict[str, Any]:
    conditions = (kubectl.get("cmodel", "nano") or {}).get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {})


@pytest.fixture
def storage_class(kubectl: Kubectl, cluster: Kubectl) -> Iterator[str]:
    """A class with one volume of 1Gi, in a folder of the node that everybody may write."""
    name = kubectl.namespace
    folder = f"/tmp/{name}"
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": name,
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": folder, "type": "DirectoryOrCreate"},
    }
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
    opened = _run_on_node(cluster, name, folder, "chmod 777 /node")
    assert opened == "Succeeded"
    yield name
    _run_on_node(cluster, f"{name}-end", folder, "rm -rf /node/*")
    cluster("delete", "persistentvolume", name, "--wait=false")


def _run_on_node(cluster: Kubectl, name: str, folder: str, script: str) -> str:
    volume = {"name": "node", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}
    mount = {"name": "node", "mountPath": "/node"}
    shell = {"name": "sh", "image": BUSYBOX, "command": ["sh", "-c", script], "volumeMounts": [mount]}
    spec = {"restartPolicy": "Never", "containers": [shell], "volumes": [volume]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

    def ended() -> str:
        phase = str((cluster.get("pod", name) or {})["status"].get("phase"))
        return phase if phase in {"Succeeded", "Failed"} else ""

    outcome = eventually(ended, 60)
    cluster("delete", "pod", name, "--wait=false")
    return outcome


def test_replicas_share_a_cache_that_outlives_them_and_goes_with_the_model(
    kubectl: Kubectl, storage_class: str
) -> None:
    # Each pod leaves its name; a model with two of them has two names in one folder.
    script = f"echo $HOSTNAME >> /weights/seen && {STAY}"
    cache = {"size": "1Gi", "storageClassName": storage_class}
    kubectl.apply(nano(script, replicas=2, model={"cache": cache}))

    def running() -> set[str]:
        return {pod["metadata"]["name"] for pod in kubectl.list("pods", PODS) if _fetches(pod)}

    def seen() -> set[str]:
        pod = next(iter(running()), None)
        return (
            set(kubectl("exec", pod, "-c", "fetch", "--", "cat", "/weights/seen").split()) if pod else set()
        )

    eventually(lambda: len(running()) == 2 and running() == seen(), 60)
    first = seen()
    kubectl.patch("cmodel", "nano", {"spec": {"replicas": 0}})
    eventually(lambda: not kubectl.list("pods", PODS), 60)
    claim = kubectl.get("persistentvolumeclaim", "nano-weights") or {}
    assert claim["status"]["phase"] == "Bound"
    kubectl.patch("cmodel", "nano", {"spec": {"suspend": True}})
    kubectl.patch("cmodel", "nano", {"spec": {"suspend": False, "replicas": 1}})
    eventually(lambda: first < seen(), 60)
    kubectl("delete", "cmodel", "nano", "--wait=false")
    eventually(lambda: kubectl.get("persistentvolumeclaim", "nano-weights") is None, 90)


def test_while_nothing_changes_a_cache_is_not_written(kubectl: Kubectl, storage_class: str) -> None:
    cache = {"size": "1024Mi", "storageClassName": storage_class}
    kubectl.apply(nano(STAY, replicas=0, model={"cache": cache}))

    def claim() -> dict[str, Any]:
        return kubectl.get("persistentvolumeclaim", "nano-weights") or {}

    eventually(lambda: claim().get("status", {}).get("phase") == "Bound")
    before = claim()["metadata"]["resourceVersion"]
    kubectl.patch("cmodel", "nano", {"spec": {"control": {"trace": "full"}}})
    eventually(lambda: _status(kubectl).get("observedGeneration") == 2)
    assert claim()["metadata"]["resourceVersion"] == before


def test_an_image_is_mounted_where_fetch_and_engine_look_for_it(kubectl: Kubectl) -> None:
    kubectl.apply(nano(f"ls /sources && {STAY}", uri=f"oci://{PAUSE}"))

    def listed() -> str:
        names = [pod["metadata"]["name"] for pod in kubectl.list("pods", PODS) if _fetches(pod)]
        return kubectl("logs", names[0], "-c", "fetch").strip() if names else ""

    assert eventually(listed, 60) == "pause"
    (pod,) = kubectl.list("pods", PODS)
    engine = next(c for c in pod["spec"]["containers"] if c["name"] == "triton")
    assert {"name": "sources", "mountPath": "/sources", "readOnly": True} in engine["volumeMounts"]


def test_adapters_are_fetched_after_their_model_each_from_its_own_mount(kubectl: Kubectl) -> None:
    manifest = nano("true")
    law = {"name": "law", "uri": f"oci://{PAUSE}"}
    tax = {"name": "tax", "uri": "hf://org/tax"}
    manifest["spec"]["model"]["adapters"] = [law, tax]
    look = {"name": "fetch-law", "image": BUSYBOX, "command": ["sh", "-c", "ls $CONTROLLABLE_SOURCES_ROOT"]}
    stay = {"name": "fetch-tax", "image": BUSYBOX, "command": ["sh", "-c", STAY]}
    manifest["spec"]["podTemplate"]["spec"]["initContainers"] += [look, stay]
    kubectl.apply(manifest)

    def listed() -> str:
        for pod in kubectl.list("pods", PODS):
            if any(s["name"] == "fetch-tax" and "running" in s["state"] for s in _init_statuses(pod)):
                return kubectl("logs", pod["metadata"]["name"], "-c", "fetch-law").strip()
        return ""

    assert eventually(listed, 60) == "pause"
    eventually(lambda: _status(kubectl).get("phase") == "Fetching", 30)


def test_an_image_that_cannot_be_pulled_is_told_by_its_name(kubectl: Kubectl) -> None:
    kubectl.apply(nano(STAY, uri="oci://localhost/no-such-model:1"))
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "ImagePullFailed", 60)
    assert "localhost/no-such-model:1" in condition(kubectl, "Ready")["message"]


def test_a_secret_that_is_not_there_is_told_by_its_name(kubectl: Kubectl) -> None:
    kubectl.apply(nano(STAY, model={"secretRef": {"name": "hf-token"}}))
    eventually(lambda: condition(kubectl, "Ready").get("reason") == "ModelNotFound", 60)
    assert 'secret "hf-token" not found' in condition(kubectl, "Ready")["message"]


def test_what_fetch_brought_is_told_in_the_status(kubectl: Kubectl) -> None:
    said = json.dumps({"reason": "Fetched", "message": "x", "digest": "sha256:0", "size": 5})
    kubectl.apply(nano(f"echo '{said}' > /dev/termination-log"))
    expected = {"digest": "sha256:0", "bytes": 5}
    eventually(lambda: _status(kubectl).get("model") == expected, 60)


def _status(kubectl: Kubectl) -> dict[str, Any]:
    """The model's, empty as long as the operator has not looked at it."""
    return dict((kubectl.get("cmodel", "nano") or {}).get("status", {}))


def _fetches(pod: dict[str, Any]) -> bool:
    return any(s["name"] == "fetch" and "running" in s["state"] for s in _init_statuses(pod))


def _init_statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return list(pod["status"].get("initContainerStatuses", []))
