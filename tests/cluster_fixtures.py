"""Fixtures for tests against a real cluster: kubectl, a namespace for each test, the operator as a process.

They use the cluster of KUBECONFIG, and skip where there is none. With the cluster of this repository:
`python -m dev.cluster enter -- pytest -m cluster`.

When a test fails, the events, pods and logs of its namespace and the operator's log are part of the report.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dev.cluster import build

ROOT = Path(__file__).parents[1]
Manifest = dict[str, Any]
T = TypeVar("T")

PAUSE = "localhost/pause:1"  # an image that is on the node, starts as anything and does nothing


@dataclass(frozen=True)
class Kubectl:
    """kubectl, bound to a namespace: another hand in the cluster than the operator's."""

    namespace: str

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Any command, whatever its outcome."""
        command = ["kubectl", f"--namespace={self.namespace}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a command that must succeed."""
        result = self.run(*arguments, stdin=stdin)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def apply(self, manifest: Manifest) -> Manifest:
        return dict(json.loads(self("apply", "--output=json", "--filename=-", stdin=json.dumps(manifest))))

    def get(self, kind: str, name: str) -> Manifest | None:
        output = self("get", kind, name, "--ignore-not-found", "--output=json")
        return dict(json.loads(output)) if output.strip() else None

    def list(self, kinds: str, selector: str = "") -> list[Manifest]:
        return list(json.loads(self("get", kinds, f"--selector={selector}", "--output=json"))["items"])

    def patch(self, kind: str, name: str, patch: Manifest, how: str = "merge") -> None:
        self("patch", kind, name, f"--type={how}", "--patch", json.dumps(patch))


def helm_template(chart: str, *arguments: str, release: str = "tests") -> str:
    """The manifests of one of our charts. Without a version, helm supposes a very old cluster."""
    command = ["helm", "template", release, str(ROOT / "charts" / chart), "--kube-version=1.37", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def judge(program: str) -> Path:
    """A program that is no part of the cluster; skips where it was not asked for."""
    path = build.judge(program)
    if path is None:
        pytest.skip(f"needs {program}: python -m dev.cluster build --judges")
    return path


@dataclass(frozen=True)
class OperatorProcess:
    """An operator that runs beside the tests."""

    process: "subprocess.Popen[bytes]"
    log: Path
    metrics_port: int

    def metric(self, name: str, **labels: str) -> float:
        """Sum of all series of `controllable_operator_<name>` that have these labels; 0 if it's down."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except OSError:
            return 0.0
        samples = [sample for family in families for sample in family.samples]
        return sum(
            sample.value
            for sample in samples
            if sample.name == f"controllable_operator_{name}" and labels.items() <= sample.labels.items()
        )


def eventually(probe: Callable[[], T], timeout: float = 20.0, interval: float = 0.1) -> T:
    """The first true value of `probe`; an AssertionError of `probe` counts as not yet."""
    deadline = time.monotonic() + timeout
    while True:
        problem: object = None
        try:
            if value := probe():
                return value
            problem = value
        except AssertionError as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {problem}")
        time.sleep(interval)


@pytest.fixture(scope="session")
def cluster() -> Kubectl:
    """kubectl in the namespace default of the cluster under test."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a cluster: python -m dev.cluster enter -- pytest -m cluster")
    kubectl = Kubectl("default")
    kubectl("version", "--output=json")
    _refuse_a_cluster_in_use(kubectl)
    return kubectl


def _refuse_a_cluster_in_use(kubectl: Kubectl) -> None:
    """These tests run operators that act on every model, and end by uninstalling: not beside real work."""
    operators = _namespaces_with("deployments", "--selector=app.kubernetes.io/name=controllable-operator")
    phase = "--field-selector=status.phase=Terminating"  # what an earlier run has deleted
    going = set(kubectl("get", "namespaces", phase, "--output=jsonpath={.items[*].metadata.name}").split())
    if used := (_namespaces_with("controllablemodels") | operators) - going:
        pytest.exit(
            f"there are models or an operator in {', '.join(sorted(used))}, which these tests would "
            "disturb; use an empty cluster (the local one: python -m dev.cluster down)",
            returncode=3,
        )


def _namespaces_with(*what: str) -> set[str]:
    """Namespaces that hold such objects; none where their kind is not known."""
    output = "--output=jsonpath={.items[*].metadata.namespace}"
    return set(Kubectl("default").run("get", *what, "--all-namespaces", output).stdout.split())


@pytest.fixture(scope="session")
def definitions(cluster: Kubectl) -> None:
    """The custom resource definitions, established."""
    cluster("apply", "--server-side", "--force-conflicts", f"--filename={ROOT / 'crds'}")
    # A definition that has no conditions yet makes kubectl wait give up.
    name = "crd/controllablemodels.serving.controllable.dev"
    eventually(lambda: cluster.run("wait", "--for=condition=Established", name).returncode == 0)


@pytest.fixture
def kubectl(cluster: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace that enforces the restricted Pod Security Standard."""
    name = f"test-{time.time_ns():x}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield Kubectl(name)
    cluster("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def operator_kubeconfig(cluster: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A kubeconfig for the ServiceAccount of the operator's chart: it has exactly the rights of its role."""
    namespace = Kubectl(f"operator-{time.time_ns():x}")
    cluster("create", "namespace", namespace.namespace)
    parts = [f"--show-only=templates/{part}.yaml" for part in ("serviceaccount", "rbac")]
    arguments = [f"--namespace={namespace.namespace}", *parts]
    rendered = helm_template("controllable-operator", *arguments, release=namespace.namespace)
    namespace("apply", "--filename=-", stdin=rendered)
    account = namespace.list("serviceaccounts", f"app.kubernetes.io/instance={namespace.namespace}")[0]
    token = namespace("create", "token", account["metadata"]["name"]).strip()
    config = yaml.safe_load(cluster("config", "view", "--raw", "--flatten", "--minify"))
    # where its Lease is, too
    config["contexts"][0]["context"]["namespace"] = namespace.namespace
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = tmp_path_factory.mktemp("operator") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    yield path
    namespace("delete", "--filename=-", stdin=rendered)
    cluster("delete", "namespace", namespace.namespace, "--wait=false")


@pytest.fixture(scope="module")
def operator(definitions: None, operator_kubeconfig: Path) -> Iterator[OperatorProcess]:
    """The operator as a process beside the tests."""
    with running_operator(operator_kubeconfig, operator_kubeconfig.with_name("operator.log")) as process:
        yield process


@contextmanager
def running_operator(kubeconfig: Path, log: Path, *arguments: str) -> Iterator[OperatorProcess]:
    """An operator as a process, from when it is healthy."""
    health, metrics = _free_port(), _free_port()
    command = [sys.executable, "-m", "controllable_operator.cli", "run", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--health-port={health}", f"--metrics-port={metrics}"],
            env=os.environ
            | {
                "KUBECONFIG": str(kubeconfig),
                "CONTROLLABLE_RUNTIME_IMAGE": PAUSE,
                "CONTROLLABLE_PROMETHEUS_URL": "http://prometheus.monitoring:9090",
                "PYTHONPATH": str(ROOT / "operator"),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{health}/healthz"), timeout=60)
        yield OperatorProcess(process, log, metrics)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what is needed to understand a failure to its report."""
    report = yield
    if report.failed and item.get_closest_marker("cluster") and os.environ.get("KUBECONFIG"):
        fixtures = getattr(item, "funcargs", {})
        kubectl = fixtures.get("kubectl")
        for namespace in [kubectl.namespace] if kubectl else sorted(_namespaces_with("controllablemodels")):
            report.sections.append((f"namespace {namespace}", _describe(Kubectl(namespace))))
        if operator := fixtures.get("operator"):
            report.sections.append(("operator", operator.log.read_text()[-10_000:]))
    return report


def _describe(kubectl: Kubectl) -> str:
    """Events, objects and logs of a namespace, as far as they can be had."""
    commands = [
        ["get", "events", "--sort-by=.lastTimestamp"],
        ["get", "all", "--output=wide"],
        ["get", "controllablemodels", "--output=yaml"],
        ["describe", "pods"],
    ]
    pods = kubectl.run("get", "pods", "--output=name").stdout.split()
    commands += [["logs", pod, "--all-containers", "--prefix", "--tail=100"] for pod in pods]
    parts = []
    for command in commands:
        result = kubectl.run(*command)
        parts.append(f"$ kubectl {' '.join(command)}\n{result.stdout}{result.stderr}")
    return "\n".join(parts)
