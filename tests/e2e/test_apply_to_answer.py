"""The whole way on real parts: helm install, kubectl apply, Ready, an answer, delete.

Needs a cluster (KUBECONFIG) whose nodes have the images named by RUNTIME_IMAGE and OPERATOR_IMAGE.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from cluster_fixtures import Kubectl, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

QUESTION = "Solve the following multiplication: 47 * 83. Give only the result as your final answer."
# Beyond what nano can do reliably: most of its paths go wrong, and the gate sees it.
HARD = (
    "Your task is to convert a number between two different bases.\n\n"
    "If the target base is > 10, use lowercase letters a-z for digits above 9.\n\n"
    "Now, convert the base-14 number 246 to base-8"
)
MANAGED = "app.kubernetes.io/managed-by=controllable-operator"
KILL_STUB = """
import os, pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if b"triton_python_backend_stub" in (process / "cmdline").read_bytes().split(b"\\0")[0]:
        os.kill(int(process.name), 9)
        print("killed", process.name)
"""
# Open a stream through the Service, leave after its first bytes, and say when the metrics know.
LEAVE = """
import time, httpx
def cancelled():
    lines = httpx.get("http://nano/metrics").text.splitlines()
    found = [l for l in lines if l.startswith("controllable_requests_total") and "cancelled" in l]
    return sum(float(l.rsplit(" ", 1)[1]) for l in found)
before = cancelled()
numbers = ", ".join(str(n * 37 % 101) for n in range(60))  # long enough to be running still
body = {
    "model": "nano", "stream": True, "reasoning_effort": "high",
    "messages": [{"role": "user", "content": "Sort these numbers in ascending order: " + numbers}],
}
with httpx.stream("POST", "http://nano/v1/chat/completions", json=body, timeout=60) as answer:
    next(answer.iter_bytes())
left = time.monotonic()
while cancelled() == before and time.monotonic() < left + 10:
    time.sleep(0.02)
print(time.monotonic() - left)
"""


@pytest.fixture
def url(nano: Kubectl) -> Iterator[str]:
    """A base URL that reaches the model's Service from here."""
    command = ["kubectl", f"--namespace={nano.namespace}", "port-forward", "svc/nano", ":80"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " -> " in line, f"port-forward said {line!r}"
        # kubectl writes a line for each connection, and stops when nobody reads them.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield f"http://{line.split(' -> ')[0].rsplit(' ', 1)[1]}"
        process.terminate()


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", timeout=60, max_retries=0)


def condition(kubectl: Kubectl, name: str, kind: str) -> dict[str, str]:
    model = kubectl.get("cmodel", name) or {}
    return next((c for c in model.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def serving_pod(kubectl: Kubectl) -> str:
    (pod,) = kubectl.list("pods", "app.kubernetes.io/instance=nano")
    return str(pod["metadata"]["name"])


def test_a_served_model_says_so_in_its_conditions(nano: Kubectl) -> None:
    status = (nano.get("cmodel", "nano") or {})["status"]
    said = {c["type"]: (c["status"], c["observedGeneration"]) for c in status["conditions"]}
    assert said["Ready"] == said["ModelLoaded"] == ("True", 1)
    assert (status["readyReplicas"], status["observedGeneration"]) == (1, 1)


def test_the_openai_client_gets_a_controlled_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": HARD}], reasoning_effort="high", seed=1
    )
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content
    assert completion.usage is not None
    details = completion.usage.completion_tokens_details
    assert details is not None
    assert 0 < (details.reasoning_tokens or 0) <= completion.usage.completion_tokens
    control = (completion.model_extra or {})["controllable"]
    ends = control["paths_pruned"] + control["paths_stopped"] + control["paths_finished"]
    assert ends == control["paths_started"] <= 16
    assert control["paths_pruned"] > 0
    assert control["tokens_saved"] > 0


def test_thinking_streams_before_the_answer_and_usage_comes_last(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="nano",
        messages=[{"role": "user", "content": QUESTION}],
        reasoning_effort="high",
        stream=True,
        stream_options={"include_usage": True},
    )
    kinds: list[str] = []
    usage = None
    for chunk in stream:
        for choice in chunk.choices:
            if (choice.delta.model_extra or {}).get("reasoning_content"):
                kinds.append("reasoning")
            if choice.delta.content:
                kinds.append("answer")
        usage = chunk.usage or usage
    assert kinds[0] == "reasoning"
    assert kinds[-1] == "answer"
    assert usage is not None
    assert usage.completion_tokens > 0


def test_a_closed_connection_cancels_within_a_second(nano: Kubectl, record_property: Any) -> None:
    # Asked from inside the cluster: a port-forward notices late that its client has gone.
    seconds = float(nano("exec", serving_pod(nano), "--container=frontend", "--", "python3", "-c", LEAVE))
    record_property("cancel_seconds", seconds)
    assert seconds < 1.0


def test_a_malformed_request_is_refused_with_the_fields_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="nano", messages=[{"role": "user", "content": "1 + 1"}], temperature=9
        )
    assert refused.value.param == "temperature"


def test_a_model_that_is_not_there_says_so_in_its_condition(nano: Kubectl) -> None:
    manifest = {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "missing", "namespace": nano.namespace},
        "spec": {"model": {"uri": "image:///models/missing"}},
    }
    nano.apply(manifest)
    said = eventually(
        lambda: (c := condition(nano, "missing", "Ready")) and c["reason"] == "ModelNotFound" and c,
        timeout=60,
    )
    assert "/models/missing" in said["message"]
    nano("delete", "cmodel/missing")


def test_a_killed_backend_recovers_by_itself_and_callers_never_hang(
    nano: Kubectl, client: openai.OpenAI
) -> None:
    pod = serving_pod(nano)
    assert "killed" in nano("exec", pod, "--container=triton", "--", "python3", "-c", KILL_STUB)
    start = time.monotonic()
    with pytest.raises(openai.APIError):
        client.chat.completions.create(model="nano", messages=[{"role": "user", "content": QUESTION}])
    assert time.monotonic() - start < 30
    eventually(lambda: condition(nano, "nano", "Ready")["status"] == "False", timeout=60)
    nano("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=110s")
    restarts = json.loads(nano("get", "pod", pod, "--output=json"))["status"]["containerStatuses"]
    assert {c["name"]: c["restartCount"] for c in restarts} == {"triton": 1, "frontend": 0}


def test_deleting_the_model_leaves_nothing(nano: Kubectl) -> None:
    nano("delete", "cmodel/nano")
    kinds = "deployments,replicasets,pods,services,configmaps,networkpolicies"
    eventually(lambda: not nano.list(kinds, MANAGED), timeout=150)
