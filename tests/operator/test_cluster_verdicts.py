"""A model's whole life on a real cluster: at every turn kubectl wait, Argo CD, kstatus and Helm say the same.

The pods are busybox with our containers' names: what the model's status is made of is what kubelet reports.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import Kubectl, OperatorProcess, eventually, judge
from verdicts import DONE, FAILED, GOING, LEAVING, argo, disagreement, kstatus, kubectl_wait

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

BUSYBOX = "localhost/busybox:1"
NOT_FOUND = json.dumps({"reason": "ModelNotFound", "message": "hf://org/repo does not exist"})
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"]


def model(fetch: str = "true", image: str = BUSYBOX, **spec: Any) -> dict[str, Any]:
    """A model that is ready as soon as `fetch` succeeds."""
    # Not null: the API server drops it where it does not know the field.
    probes = {"triton": ["livenessProbe"], "frontend": ["startupProbe", "livenessProbe", "readinessProbe"]}
    gone = {"$patch": "delete"}
    pods = {
        "terminationGracePeriodSeconds": 1,
        "initContainers": [{"name": "fetch", "command": ["sh", "-c", fetch]}],
        "containers": [
            {"name": name, "command": SLEEP} | dict.fromkeys([*fields, "lifecycle"], gone)
            for name, fields in probes.items()
        ],
    }
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {
            "model": {"uri": "image:///models/nano"},
            "serving": {"image": image},
            "podTemplate": {"spec": pods},
        }
        | spec,
    }


BROKEN = model(f"echo '{NOT_FOUND}' > /dev/termination-log; exit 1")


class Life:
    """Every version of the model as a watch tells of it: what each tool would have seen."""

    def __init__(self, kubectl: Kubectl, record: Path) -> None:
        self._kubectl, self._record = kubectl, record
        command = ["kubectl", f"--namespace={kubectl.namespace}", "get", "cmodel", "--watch"]
        with record.open("w") as output:
            self._watch = subprocess.Popen([*command, "--output=json"], stdout=output)

    def until(self, verdict: str, reason: str = "", timeout: float = 60) -> dict[str, Any]:
        """The model once Argo CD has this verdict, and its condition Ready this reason, if one is named."""

        def reached() -> dict[str, Any] | None:
            now = self._kubectl.get("cmodel", "nano") or {}
            conditions = now.get("status", {}).get("conditions", [])
            told = [condition["reason"] for condition in conditions if condition["type"] == "Ready"]
            return now if now and argo(now) == verdict and (not reason or told == [reason]) else None

        found = eventually(reached, timeout)
        assert found is not None
        return found

    def versions(self) -> list[dict[str, Any]]:
        """All that was seen, and the end of the watch."""
        self._watch.terminate()
        self._watch.wait(timeout=10)
        text = self._record.read_text()
        decoder, found, at = json.JSONDecoder(), [], 0
        while at < len(text.rstrip()):
            version, at = decoder.raw_decode(text, at)
            found.append(version)
            at += len(text[at:]) - len(text[at:].lstrip())
        return found


@pytest.mark.timeout(600)
def test_all_tools_agree_from_the_first_to_the_last_moment_of_a_model(
    kubectl: Kubectl, record_property: Any, tmp_path: Path
) -> None:
    kstatus_program, life = judge("kstatus"), Life(kubectl, tmp_path / "watch.json")
    kubectl.apply(model())
    life.until(DONE, "Serving")
    kubectl.apply(model(control={"pathPruning": {"maxPaths": 4}}))
    life.until(DONE, "Serving")
    kubectl.apply(model(image="localhost/nothing-here:1"))
    life.until(GOING, "ImagePullFailed")
    kubectl.apply(BROKEN)
    life.until(GOING, "ModelNotFound")
    life.until(FAILED, "ModelNotFound", timeout=120)
    kubectl.apply(model())
    life.until(DONE, "Serving")
    kubectl.patch("cmodel", "nano", {"spec": {"suspend": True}})
    life.until(DONE, "Suspended")
    kubectl.patch("cmodel", "nano", {"spec": {"suspend": False}})
    life.until(DONE, "Serving")
    kubectl.patch("cmodel", "nano", {"metadata": {"finalizers": ["example.com/wait"]}})
    kubectl("delete", "cmodel/nano", "--wait=false")
    life.until(LEAVING)
    kubectl.patch("cmodel", "nano", {"metadata": {"finalizers": None}})
    eventually(lambda: kubectl.get("cmodel", "nano") is None)

    versions = life.versions()
    verdicts = kstatus(kstatus_program, versions)
    record_property("versions", len(versions))
    assert [p for v, k in zip(versions, verdicts, strict=True) if (p := disagreement(v, k))] == []
    assert verdicts[0] == kubectl_wait(versions[0]) == GOING  # nobody has seen it yet
    assert set(verdicts) == {DONE, GOING, FAILED, LEAVING}


@pytest.fixture
def chart(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Somebody's chart that contains a model."""

    def write(manifest: dict[str, Any]) -> Path:
        (tmp_path / "templates").mkdir(exist_ok=True)
        (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 1.0.0\n")
        (tmp_path / "templates/model.json").write_text(json.dumps(manifest))
        return tmp_path

    return write


def test_helm_4_waits_until_a_model_serves_and_fails_once_it_cannot(
    kubectl: Kubectl, chart: Callable[[dict[str, Any]], Path]
) -> None:
    program = judge("helm")

    def install(name: str, manifest: dict[str, Any], timeout: str) -> subprocess.CompletedProcess[str]:
        command = [program, "upgrade", "--install", name, chart(manifest), f"--timeout={timeout}"]
        command += ["--wait=watcher", f"--namespace={kubectl.namespace}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = install("mine", model(fetch="sleep 3"), "90s")
    assert done.returncode == 0, done.stderr
    assert argo(kubectl.get("cmodel", "nano") or {}) == DONE
    failed = install("mine", BROKEN, "120s")
    assert failed.returncode != 0
    assert argo(kubectl.get("cmodel", "nano") or {}) == FAILED, failed.stderr


def test_kubectl_wait_returns_when_the_model_serves_and_not_before(
    kubectl: Kubectl, operator: OperatorProcess
) -> None:
    kubectl.apply(model(fetch="sleep 3"))
    kubectl("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=90s")
    pods = kubectl.list("pods", "app.kubernetes.io/managed-by=controllable-operator")
    assert [pod["status"]["phase"] for pod in pods] == ["Running"]
    kubectl.apply(model(image="localhost/nothing-here:1"))
    assert kubectl.run("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=5s").returncode != 0
