"""What else can happen to an operator: a dead replica, an API server that goes, a peer that disagrees."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import yaml
from cluster_fixtures import Kubectl, Manifest, OperatorProcess, eventually, running_operator

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

OURS = "app.kubernetes.io/managed-by=controllable-operator"
CHILDREN = "deployments,services,configmaps,networkpolicies"


def model(name: str = "nano") -> Manifest:
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": name},
        "spec": {"model": {"uri": "image:///models/nano"}, "replicas": 0},
    }


def kinds(kubectl: Kubectl, name: str = "nano") -> set[str]:
    return {item["kind"] for item in kubectl.list(CHILDREN, f"{OURS},app.kubernetes.io/instance={name}")}


def complete(kubectl: Kubectl, name: str = "nano") -> bool:
    return {"Deployment", "Service", "ConfigMap", "NetworkPolicy"} <= kinds(kubectl, name)


def condition(kubectl: Kubectl, kind: str) -> dict[str, Any]:
    status = (kubectl.get("cmodel", "nano") or {}).get("status", {})
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


# --- replicas


@pytest.fixture
def replicas(operator_kubeconfig: Path, tmp_path: Path) -> Iterator[list[OperatorProcess]]:
    """Two operators, of which the first one leads."""
    context = yaml.safe_load(operator_kubeconfig.read_text())["contexts"][0]["context"]
    arguments = ("--leader-elect", f"--leader-election-namespace={context['namespace']}")
    with ExitStack() as stack:
        found = []
        for index in range(2):
            log = tmp_path / f"operator-{index}.log"
            found.append(stack.enter_context(running_operator(operator_kubeconfig, log, *arguments)))
            eventually(lambda: sum(leading(found)) == 1, timeout=40)
        assert leading(found) == [True, False]
        yield found


def leading(replicas: list[OperatorProcess]) -> list[bool]:
    return [replica.metric("leader") == 1 for replica in replicas]


def seconds_to_take_over(replicas: list[OperatorProcess], limit: float) -> float:
    start = time.monotonic()

    def taken() -> bool:
        now = leading(replicas)
        if sum(now) > 1:
            raise RuntimeError("two lead at once")
        return now[1]

    eventually(taken, limit, interval=0.05)
    return time.monotonic() - start


def test_a_killed_leader_is_followed_within_30_seconds(
    replicas: list[OperatorProcess], kubectl: Kubectl, record_property: Any
) -> None:
    replicas[0].process.send_signal(signal.SIGKILL)
    kubectl.apply(model())
    record_property("takeover_seconds", round(seconds_to_take_over(replicas, 30), 1))
    eventually(lambda: complete(kubectl), 5)


def test_a_leader_that_is_told_to_stop_hands_over_within_2_seconds(
    replicas: list[OperatorProcess], kubectl: Kubectl, record_property: Any
) -> None:
    kubectl.apply(model())
    eventually(lambda: complete(kubectl))
    replicas[0].process.terminate()
    record_property("takeover_seconds", round(seconds_to_take_over(replicas, 2), 2))
    assert replicas[0].process.wait(10) == 0
    kubectl("delete", "service", "nano", "--wait=false")
    eventually(lambda: complete(kubectl), 5)


def test_a_leader_that_freezes_does_not_lead_beside_its_follower(
    replicas: list[OperatorProcess], kubectl: Kubectl
) -> None:
    replicas[0].process.send_signal(signal.SIGSTOP)
    eventually(lambda: replicas[1].metric("leader") == 1, timeout=30)
    replicas[0].process.send_signal(signal.SIGCONT)
    writes = replicas[0].metric("writes_total")
    kubectl.apply(model())
    eventually(lambda: complete(kubectl), 10)
    eventually(lambda: leading(replicas) == [False, True], timeout=10)
    assert replicas[0].metric("writes_total") == writes


def test_one_that_stands_by_writes_nothing_and_knows_everything(
    replicas: list[OperatorProcess], kubectl: Kubectl
) -> None:
    kubectl.apply(model())
    eventually(lambda: complete(kubectl))
    eventually(lambda: replicas[1].metric("models") == replicas[0].metric("models") >= 1, 5)
    assert replicas[1].metric("writes_total") == 0


# --- the API server and the way to it


class Wire:
    """A way to the API server that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._whole = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole = False
        for end in self._ends:
            _shut(end)
        self._ends.clear()

    def mend(self) -> None:
        self._whole = True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if not self._whole:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(sink)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture(scope="module")
def wire(operator_kubeconfig: Path) -> Iterator[Wire]:
    config = yaml.safe_load(operator_kubeconfig.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    wire = Wire(server.hostname or "", server.port or 443)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def operator(operator_kubeconfig: Path, wire: Wire) -> Iterator[OperatorProcess]:
    """An operator that reaches the API server over the wire."""
    config = yaml.safe_load(operator_kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
    kubeconfig = operator_kubeconfig.with_name("kubeconfig-over-wire")
    kubeconfig.write_text(yaml.safe_dump(config))
    with running_operator(kubeconfig, kubeconfig.with_suffix(".log")) as process:
        yield process


@contextmanager
def cut_off(wire: Wire) -> Iterator[None]:
    wire.cut()
    try:
        yield
    finally:
        wire.mend()


@pytest.fixture
def serving(kubectl: Kubectl, operator: OperatorProcess) -> Kubectl:
    for name in ("nano", "other"):
        kubectl.apply(model(name))
    eventually(lambda: complete(kubectl) and complete(kubectl, "other"))
    eventually(lambda: condition(kubectl, "Ready").get("status") == "True")
    return kubectl


def much_happens(kubectl: Kubectl) -> None:
    """Changes that somebody makes while the operator sees nothing."""
    kubectl("delete", "service", "nano", "--wait=false")
    kubectl.patch("deployment", "nano", {"spec": {"replicas": 3}})
    kubectl("delete", "cmodel", "other")
    kubectl.apply(model("new"))


def all_is_well(kubectl: Kubectl) -> bool:
    deployment = kubectl.get("deployment", "nano") or {}
    return (
        complete(kubectl)
        and deployment["spec"]["replicas"] == 0
        and complete(kubectl, "new")
        and not kinds(kubectl, "other")
    )


def test_what_happens_while_the_watches_are_cut_is_made_good(
    serving: Kubectl, wire: Wire, operator: OperatorProcess, record_property: Any
) -> None:
    with cut_off(wire):
        much_happens(serving)
        time.sleep(3)
    start = time.monotonic()
    eventually(lambda: all_is_well(serving), timeout=30)
    record_property("seconds_after_the_cut", round(time.monotonic() - start, 1))
    assert operator.process.poll() is None


def end_process(name: str) -> None:
    """Kill a component of the local cluster, whose supervisor starts it again."""
    found = [process for process in psutil.process_iter(["name"]) if process.info["name"] == name]
    if len(found) != 1:
        pytest.skip(f"needs the local cluster (dev/cluster), where {name} is a process")
    os.kill(found[0].pid, signal.SIGKILL)
    found[0].wait(10)


def reachable(kubectl: Kubectl) -> bool:
    return kubectl.run("get", "--raw", "/readyz").returncode == 0


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_a_restart_of_what_the_cluster_stands_on_is_survived(
    serving: Kubectl, operator: OperatorProcess, component: str, record_property: Any
) -> None:
    end_process(component)
    eventually(lambda: reachable(serving), timeout=90)
    eventually(lambda: serving.run("delete", "service", "nano", "--wait=false").returncode == 0, timeout=60)
    start = time.monotonic()
    eventually(lambda: complete(serving), timeout=60)
    record_property("seconds_to_repair_afterwards", round(time.monotonic() - start, 1))
    assert operator.process.poll() is None


def test_what_vanishes_in_a_gap_that_no_watch_can_bridge_is_made_again(
    serving: Kubectl, wire: Wire, operator: OperatorProcess
) -> None:
    lists = operator.metric("api_requests_total", verb="list", resource="services")
    with cut_off(wire):
        much_happens(serving)
        end_process("kube-apiserver")  # the new one remembers no events of before
        eventually(lambda: reachable(serving), timeout=90)
    eventually(lambda: all_is_well(serving), timeout=60)
    assert operator.metric("api_requests_total", verb="list", resource="services") > lists


# --- peers


class Peer:
    """Somebody who sets the replicas of a Deployment every second."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl, self._stop = kubectl, threading.Event()
        self.changes = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        patch = ("--type=merge", '--patch={"spec":{"replicas":3}}', "--field-manager=scaler")
        while not self._stop.wait(1):
            self._kubectl("patch", "deployment", "nano", *patch)
            self.changes += 1


def test_a_peer_that_reverts_every_second_is_named_and_not_fought(
    serving: Kubectl, operator: OperatorProcess
) -> None:
    before = (serving.get("deployment", "nano") or {})["metadata"]["generation"]
    with Peer(serving) as peer:
        eventually(lambda: condition(serving, "Contested").get("status") == "True", timeout=30)
        time.sleep(15)
    message = condition(serving, "Contested")["message"]
    assert "Deployment nano: spec.replicas is changed again and again by field manager scaler" in message
    (event,) = [e for e in serving.list("events") if e["reason"] == "FieldsReverted"]
    assert event["type"] == "Warning"
    written = operator.metric("writes_total", kind="Deployment", verb="apply")
    generation = (serving.get("deployment", "nano") or {})["metadata"]["generation"]
    assert generation - before < 2 * peer.changes - 4  # it was not answered each time
    assert written >= 4
    # in the end it is as the model says
    eventually(lambda: (serving.get("deployment", "nano") or {})["spec"]["replicas"] == 0, timeout=40)


def test_a_namespace_that_ends_is_left_in_peace(
    kubectl: Kubectl, cluster: Kubectl, operator: OperatorProcess
) -> None:
    name = f"{kubectl.namespace}-ending"
    cluster("create", "namespace", name)
    ending = Kubectl(name)
    ending.apply(model())
    eventually(lambda: complete(ending))
    held = {"name": "held", "finalizers": ["example.com/held"]}
    ending.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    cluster("delete", "namespace", name, "--wait=false")
    eventually(lambda: not ending.list("cmodel") and not ending.list(CHILDREN, OURS), timeout=30)
    errors = operator.metric("reconcile_errors_total")
    writes = operator.metric("writes_total")
    time.sleep(3)
    assert operator.metric("reconcile_errors_total") == errors
    assert operator.metric("writes_total") == writes
    assert operator.metric("last_success_timestamp_seconds", namespace=name) == 0
    ending.patch("configmap", "held", {"metadata": {"finalizers": None}})
    eventually(lambda: cluster.get("namespace", name) is None, timeout=30)
