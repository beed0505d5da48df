"""What tests of the whole way share: the charts installed, one namespace for each module, one model in it.

Needs a cluster (KUBECONFIG) whose nodes have the images named by RUNTIME_IMAGE and OPERATOR_IMAGE.
"""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest
from cluster_fixtures import ROOT, Kubectl

OPERATOR_NAMESPACE = "controllable-system"


def helm(*arguments: str) -> None:
    done = subprocess.run(["helm", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def namespace(cluster: Kubectl, name: str) -> Kubectl:
    """A namespace that enforces the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    return Kubectl(name)


@pytest.fixture(scope="module")
def release(cluster: Kubectl) -> Iterator[Kubectl]:
    """Both charts, installed as the README says, and uninstalled."""
    missing = [name for name in ("RUNTIME_IMAGE", "OPERATOR_IMAGE") if name not in os.environ]
    assert not missing, f"set {' and '.join(missing)} to images that the cluster's nodes can pull"
    system = namespace(cluster, OPERATOR_NAMESPACE)
    # Tests of the operator alone may have applied the definitions by hand before.
    helm(
        "upgrade", "--install", "controllable-crds", "charts/controllable-crds", "--wait", "--take-ownership"
    )
    repository, _, tag = os.environ["OPERATOR_IMAGE"].rpartition(":")
    helm(
        *("upgrade", "--install", "controllable-operator", "charts/controllable-operator", "--wait"),
        *("--namespace", OPERATOR_NAMESPACE),
        *("--set", f"image.repository={repository},image.tag={tag}"),
        *("--set", f"runtime.image={os.environ['RUNTIME_IMAGE']}"),
    )
    yield system
    helm("uninstall", "controllable-operator", "--namespace", OPERATOR_NAMESPACE, "--wait")
    # The next module installs into the same one.
    cluster("delete", "namespace", OPERATOR_NAMESPACE, "--timeout=120s")


@pytest.fixture(scope="module")
def kubectl(cluster: Kubectl, release: Kubectl) -> Iterator[Kubectl]:
    """One namespace for the module: starting a model for each test would take longer than the tests."""
    name = f"e2e-{time.time_ns():x}"
    yield namespace(cluster, name)
    cluster("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def nano(kubectl: Kubectl) -> Kubectl:
    """The example manifest, applied and Ready."""
    kubectl("apply", "--filename", str(ROOT / "examples/nano.yaml"))
    kubectl("wait", "--for=condition=Ready", "cmodel/nano", "--timeout=180s")
    return kubectl
