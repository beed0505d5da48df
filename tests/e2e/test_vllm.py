"""A model on vLLM in the cluster, by a manifest: the same resource, the same API, the same account."""

import json
import os
from collections.abc import Iterator

import pytest
from cluster_fixtures import Kubectl, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "nano-on-vllm"
QUESTION = "State the final answer to the following arithmetic problem: 57 + 87 - 70 ="


@pytest.fixture(scope="module")
def served(kubectl: Kubectl) -> Iterator[Kubectl]:
    """Ready, on the image with vLLM for CPUs."""
    kubectl.apply(manifest(NAME, os.environ["RUNTIME_VLLM_IMAGE"]))
    kubectl("wait", "--for=condition=Ready", f"cmodel/{NAME}", "--timeout=400s")
    yield kubectl
    kubectl("delete", "cmodel", NAME)


def manifest(name: str, image: str) -> dict[str, object]:
    serving = {"engine": "vllm", "image": image, "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": name},
        "spec": {"model": {"uri": "image:///models/nano"}, "serving": serving},
    }


def post(kubectl: Kubectl, document: dict[str, object]) -> dict[str, object]:
    """What the model's frontend answers, asked from within its pod."""
    program = (
        "import json, sys, urllib.request as r; "
        "q = r.Request('http://127.0.0.1:8080/v1/chat/completions', sys.stdin.buffer.read(), "
        "{'content-type': 'application/json'}); print(r.urlopen(q, timeout=120).read().decode())"
    )
    pod = kubectl("get", "pods", "-l", f"app.kubernetes.io/instance={NAME}", "-o", "name").split()[0]
    command = ("exec", "-i", pod, "-c", "frontend", "--", "python3", "-c", program)
    return json.loads(kubectl(*command, stdin=json.dumps(document)))


def test_a_manifest_serves_controlled_paths_on_vllm(served: Kubectl) -> None:
    answer = post(
        served,
        {
            "model": NAME,
            "messages": [{"role": "user", "content": QUESTION}],
            "seed": 4,
            "controllable": {"paths": 6, "coefficient": 1.0},
        },
    )
    assert "74" in answer["choices"][0]["message"]["content"]  # type: ignore[index]
    processes = served("exec", f"deploy/{NAME}", "-c", "triton", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    assert "controllable_inference.engines.vllm.child" in processes


def test_an_image_without_vllm_is_told_with_what_to_do(kubectl: Kubectl) -> None:
    """`engine: vllm` on the runtime image for CPUs, which has none."""
    name = "no-vllm"
    kubectl.apply(manifest(name, os.environ["RUNTIME_IMAGE"]))
    kubectl("wait", "--for=condition=ModelLoaded=False", f"cmodel/{name}", "--timeout=120s")
    told = "jsonpath={.status.conditions[?(@.type=='ModelLoaded')].message}"
    eventually(lambda: "this image has no vLLM" in kubectl("get", f"cmodel/{name}", "-o", told), 120.0, 1.0)
    message = kubectl("get", f"cmodel/{name}", "-o", told)
    assert "spec.serving.engine" in message
    kubectl("delete", "cmodel", name)
