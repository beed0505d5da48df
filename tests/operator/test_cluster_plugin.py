"""`kubectl controllable`, found by the real kubectl, against a real cluster with the operator at work.

The runtime image does nothing, so a model is ready here when it is stopped on purpose.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_fixtures import ROOT, Kubectl, eventually
from gpu_boards import Boards
from gpu_objects import resource_slice

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator")]

Plugin = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the plugin on it, as pip would put it there."""
    for script, module in (("kubectl-controllable", ""), ("kubectl_complete-controllable", ".complete")):
        start = f"from controllable_operator.plugin{module} import main; raise SystemExit(main())"
        file = tmp_path / script
        file.write_text(f"#!{sys.executable}\nimport sys; sys.path.insert(0, '{ROOT}/operator')\n{start}\n")
        file.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.fixture
def controllable(kubectl: Kubectl, path: str) -> Plugin:
    """`kubectl controllable …` in the test's namespace."""

    def run(command: str, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        scope = [] if "--all-namespaces" in arguments else [f"--namespace={kubectl.namespace}"]
        return subprocess.run(
            ["kubectl", "controllable", command, *scope, *arguments],
            env=os.environ | {"PATH": path} | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def eve(kubectl: Kubectl, tmp_path: Path) -> str:
    """The kubeconfig of somebody who has no rights yet."""
    kubectl("create", "serviceaccount", "eve")
    token = kubectl("create", "token", "eve").strip()
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten", "--minify"))
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    file = tmp_path / "eve"
    file.write_text(yaml.safe_dump(config))
    return str(file)


def told(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


def refused(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def nano(name: str = "nano", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": name},
        "spec": {"model": {"uri": "image:///models/nano"}} | spec,
    }


def reason(kubectl: Kubectl, name: str) -> str:
    path = '{.status.conditions[?(@.type=="Ready")].reason}'
    return kubectl("get", "cmodel", name, f"--output=jsonpath={path}")


def names(node: dict[str, Any]) -> set[str]:
    return {node["kind"]} | {name for child in node["children"] for name in names(child)}


def test_a_model_whose_image_is_not_there_is_explained(kubectl: Kubectl, controllable: Plugin) -> None:
    kubectl.apply(nano(serving={"image": "localhost/nothing-here:1"}))
    eventually(lambda: reason(kubectl, "nano") == "ImagePullFailed")
    shown = told(controllable("status", "nano"))
    assert "✖ ImagePullFailed: image localhost/nothing-here:1" in shown
    assert "→ mend spec.serving.image" in shown
    assert "Deployment/nano  0/1 ready" in shown
    document = json.loads(told(controllable("status", "nano", "--output=json")))
    assert names(document["tree"]) >= {
        *("ControllableModel", "Deployment", "ReplicaSet", "Pod", "container"),
        *("Service", "ConfigMap", "NetworkPolicy", "EndpointSlice"),
    }
    assert document["findings"][0]["reason"] == "ImagePullFailed"
    assert document["notLookedAt"] == []
    assert {"Failed", "ImagePullFailed"} <= {event["reason"] for event in document["events"]}


def test_the_end_of_the_log_of_a_container_that_fails_is_shown(
    kubectl: Kubectl, controllable: Plugin
) -> None:
    kubectl.apply(nano(serving={"image": "localhost/busybox:1"}))
    eventually(lambda: reason(kubectl, "nano") == "ModelFetchFailed")
    document = json.loads(told(controllable("status", "nano", "--output=json")))
    assert "container fetch exited" in document["findings"][0]["message"]
    assert document["log"] is None or document["log"]["container"] == "fetch"


def test_events_of_all_that_a_model_owns_are_told_by_time(kubectl: Kubectl, controllable: Plugin) -> None:
    kubectl.apply(nano(serving={"image": "localhost/nothing-here:1"}))
    eventually(lambda: reason(kubectl, "nano") == "ImagePullFailed")
    lines = told(controllable("events", "nano")).splitlines()
    assert lines[0].split() == ["LAST", "COUNT", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    objects = {line.split("/")[0].split()[-1] for line in lines[1:]}
    assert {"controllablemodel", "deployment", "replicaset", "pod"} <= objects


def test_a_model_that_is_stopped_on_purpose_is_well(kubectl: Kubectl, controllable: Plugin) -> None:
    kubectl.apply(nano(replicas=0))
    eventually(lambda: reason(kubectl, "nano") == "ScaledToZero")
    shown = told(controllable("status", "nano"))
    assert "✔ ControllableModel/nano  ScaledToZero" in shown
    assert "What to do" not in shown


def test_a_fleet_of_twenty_has_the_broken_ones_first(
    kubectl: Kubectl, controllable: Plugin, record_property: Any
) -> None:
    broken = {3, 11}
    models = [
        nano(
            f"m{i:02}",
            **({"serving": {"image": "localhost/nothing-here:1"}} if i in broken else {"replicas": 0}),
        )
        for i in range(20)
    ]
    kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(models))

    def settled() -> bool:
        found = {m["metadata"]["name"]: m for m in kubectl.list("controllablemodels")}
        wanted = ["ImagePullFailed" if i in broken else "ScaledToZero" for i in range(20)]
        return [reason_of(found[f"m{i:02}"]) for i in range(20)] == wanted

    eventually(settled, timeout=60)
    start = time.monotonic()
    lines = told(controllable("fleet")).splitlines()
    record_property("fleet_seconds", round(time.monotonic() - start, 2))
    assert [line.split()[1] for line in lines[1:4]] == ["m03", "m11", "m00"]
    assert lines[-1] == "20 models in 1 namespace: 18 well, 0 on the way, 2 broken; 0 of 2 pods answer"
    everywhere = json.loads(told(controllable("fleet", "--all-namespaces", "--output=json")))
    mine = [row for row in everywhere["models"] if row["namespace"] == kubectl.namespace]
    assert len(mine) == 20


def reason_of(model: dict[str, Any]) -> str:
    conditions = model.get("status", {}).get("conditions", [])
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")


def test_what_the_cluster_offers_is_listed(controllable: Plugin) -> None:
    found = yaml.safe_load(told(controllable("capabilities", "--output=yaml")))
    offered = {row["name"]: row["available"] for row in found["capabilities"]}
    assert offered["ControllableModel"]
    assert not offered["KEDA"]


def test_gpus_are_shown_in_every_form(controllable: Plugin, boards: Boards) -> None:
    boards.tell(devices=resource_slice(partition2=2))
    text = told(controllable("gpus"))
    assert re.search(r"^board-\S+ +(\[ · ·\]){4} +NVIDIA H100 80GB HBM3 ", text, re.MULTILINE)
    assert json.loads(told(controllable("gpus", "--output=json")))["summary"]["free"] == 8
    assert told(controllable("gpus", "--output=html")).startswith("<!doctype html>")
    assert told(controllable("gpus", "--output=svg")).startswith("<svg ")


def test_a_model_that_does_not_answer_cannot_be_asked(kubectl: Kubectl, controllable: Plugin) -> None:
    kubectl.apply(nano())
    eventually(lambda: reason(kubectl, "nano"))
    assert "no pod of nano answers" in refused(controllable("ask", "nano", "6*7?"))
    assert "there is no model nanno" in (error := refused(controllable("ask", "nanno", "6*7?")))
    assert "did you mean nano?" in error


ECHO = """
while true; do
  printf 'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n%s\\n' "$BODY" | nc -l -p 8080 >/dev/null
done
"""


def stand_in(kubectl: Kubectl, body: str) -> None:
    """A pod with the labels of model nano that answers every request with `body`."""
    labels = {"app.kubernetes.io/name": "controllable-model", "app.kubernetes.io/instance": "nano"}
    context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "frontend",
        "image": "localhost/busybox:1",
        "command": ["sh", "-c", ECHO],
        "env": [{"name": "BODY", "value": body}],
        "securityContext": context,
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stand-in", "labels": labels}}
    kubectl.apply(pod | {"spec": {"containers": [container], "terminationGracePeriodSeconds": 0}})
    kubectl("wait", "--for=condition=Ready", "pod/stand-in", "--timeout=60s")


def answering(kubectl: Kubectl) -> None:
    """Model nano, with a pod that answers 42 to everything."""
    chunk = {"choices": [{"delta": {"content": "42"}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"completion_tokens": 7}}
    kubectl.apply(nano(replicas=0))
    stand_in(kubectl, "\n".join(f"data: {json.dumps(part)}" for part in (chunk, usage)) + "\ndata: [DONE]")


def test_a_question_goes_through_a_port_forward(kubectl: Kubectl, controllable: Plugin) -> None:
    answering(kubectl)
    assert told(controllable("ask", "nano", "6*7?")).splitlines()[0] == "42"
    assert json.loads(told(controllable("ask", "nano", "6*7?", "-o=json")))["usage"] == {
        "completion_tokens": 7
    }


RIGHTS = [
    ("get", "controllablemodels.serving.controllable.dev"),
    ("list", "pods"),
    ("get,create", "pods/portforward"),
]


def test_asking_takes_the_rights_that_its_help_names_and_no_more(
    kubectl: Kubectl, controllable: Plugin, eve: str
) -> None:
    answering(kubectl)
    for i, (verbs, resource) in enumerate(RIGHTS):
        missing = refused(controllable("ask", "nano", "6*7?", KUBECONFIG=eve))
        assert f"you may not {verbs.partition(',')[0]} {resource}" in missing
        kubectl("create", "role", f"r{i}", f"--verb={verbs}", f"--resource={resource}")
        kubectl("create", "rolebinding", f"r{i}", f"--role=r{i}", f"--serviceaccount={kubectl.namespace}:eve")
    answer = eventually(lambda: told(controllable("ask", "nano", "6*7?", KUBECONFIG=eve)))
    assert answer.splitlines()[0] == "42"


def test_the_load_of_a_pod_is_read_through_a_port_forward(kubectl: Kubectl, controllable: Plugin) -> None:
    kubectl.apply(nano(replicas=0))
    stand_in(kubectl, "controllable_requests_running 2\ncontrollable_requests_waiting 5")
    (row,) = json.loads(told(controllable("top", "nano", "--seconds=0.5", "-o=json")))["pods"]
    assert (row["running"], row["waiting"], row["error"]) == (2, 5, "")


def test_who_lacks_a_right_is_told_which(kubectl: Kubectl, controllable: Plugin, eve: str) -> None:
    resource = "controllablemodels.serving.controllable.dev"
    missing = f'you may not list {resource} in the namespace "{kubectl.namespace}"'
    assert missing in refused(controllable("fleet", KUBECONFIG=eve))


def test_kubectl_completes_the_names_of_models(kubectl: Kubectl, path: str) -> None:
    kubectl(
        "apply", "--filename=-", stdin=yaml.safe_dump_all([nano("na", replicas=0), nano("other", replicas=0)])
    )
    completed = subprocess.run(
        ["kubectl", "__complete", "controllable", "status", f"--namespace={kubectl.namespace}", "n"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.splitlines()[0] == "na"


def test_watching_tells_of_every_change(kubectl: Kubectl, path: str) -> None:
    kubectl.apply(nano(replicas=0))
    eventually(lambda: reason(kubectl, "nano") == "ScaledToZero")
    watching = subprocess.Popen(
        ["kubectl", "controllable", "fleet", f"--namespace={kubectl.namespace}", "--watch"],
        env=os.environ | {"PATH": path},
        # a shell's job in the background ignores it, and so would this one
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    seen = iter(watching.stdout.readline, "")
    assert any("1 model in 1 namespace: 1 well" in line for line in seen)
    kubectl.apply(nano("second", replicas=0))
    assert any("2 models in 1 namespace" in line for line in seen)
    watching.send_signal(signal.SIGINT)
    output, error = watching.communicate(timeout=30)
    assert (watching.returncode, error) == (130, ""), output
