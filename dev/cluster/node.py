"""The node: the first process of a cluster's namespaces, parent of all its components.

Started by `lifecycle.up` as `python -m dev.cluster.node NAME CNI_PLUGINS`. Writes one JSON object a line to
standard output: a step that is done, `{"ready": true}`, or `{"error": …}`. On SIGTERM it ends everything in
order.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType

from dev.cluster import cgroups, components, mounts, network
from dev.cluster.api import Api
from dev.cluster.errors import ClusterError
from dev.cluster.images import base, project
from dev.cluster.images.store import Store
from dev.cluster.paths import ClusterPaths
from dev.cluster.supervisor import Supervisor

MANIFESTS = Path(__file__).parent / "manifests"


class Stop(Exception):
    """SIGTERM, as an exception."""


class Node:
    def __init__(self, paths: ClusterPaths, cni_plugins: Path) -> None:
        self.paths = paths
        self.cni_plugins = cni_plugins
        self.commands = components.commands(paths)
        self.supervisor = Supervisor(paths.logs)
        self.store = Store()
        self.api = Api(paths.pki, "admin")
        self._clock = time.monotonic()

    def start(self) -> None:
        """Everything up to a node that is Ready and a DNS server that answers."""
        mounts.create(self.paths)
        network.create()
        self._write_files()
        self._run("etcd", "containerd", "kube-apiserver")
        self.supervisor.wait_until("containerd answers", self.store.answers)
        self.store.load_new(base.archives())
        self._done("containerd, with images")
        self.supervisor.wait_until("the API server is ready", lambda: self.api.get("/readyz") == "ok")
        self._done("API server")
        self._run("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns")
        self.supervisor.wait_until("namespace kube-system", lambda: bool(self.api.get(KUBE_SYSTEM)))
        self._apply(MANIFESTS)
        self._run("network-policy")
        self.supervisor.wait_until("the node is Ready", self._node_is_ready)
        self._done("node Ready")
        self.supervisor.wait_until("service account", lambda: bool(self.api.get(DEFAULT_SERVICE_ACCOUNT)))
        self.supervisor.wait_until("DNS", _dns_is_healthy)
        self._done("DNS")

    def stop(self) -> None:
        """End the pods, and leave a store of images without traces of them and without outdated images."""
        self.supervisor.stop("kubelet")
        for _ in range(100):
            pods = cgroups.processes(self.paths.name)
            if not pods:
                break
            for pid in pods:
                _kill(pid)
            time.sleep(0.05)
        self.store.forget_containers()
        self.store.remove(project.is_outdated)
        self.supervisor.stop("containerd")
        self.paths.images_are_clean.touch()

    def _run(self, *names: str) -> None:
        for name in names:
            self.supervisor.start(name, self.commands[name])

    def _write_files(self) -> None:
        files = components.files(self.paths, cgroups.name_of(self.paths.name), self.cni_plugins)
        for name, content in files.items():
            file = self.paths.conf / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def _apply(self, manifests: Path) -> None:
        command = ["kubectl", "apply", "--server-side", "--filename", str(manifests)]
        config = {**os.environ, "KUBECONFIG": str(self.paths.kubeconfig())}
        done = subprocess.run(command, env=config, capture_output=True, text=True)
        if done.returncode:
            raise ClusterError(f"kubectl apply of {manifests} failed: {done.stderr.strip()}")

    def _node_is_ready(self) -> bool:
        conditions = self.api.get_json(f"/api/v1/nodes/{network.NODE}")["status"].get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _done(self, step: str) -> None:
        now = time.monotonic()
        say({"step": step, "seconds": round(now - self._clock, 2)})
        self._clock = now


KUBE_SYSTEM = "/api/v1/namespaces/kube-system"
DEFAULT_SERVICE_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


def say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


def fail(what: str, remedy: str = "") -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyway, now
    say({"error": what, "remedy": remedy})


def _dns_is_healthy() -> bool:
    with urllib.request.urlopen(f"http://{components.COREDNS_HEALTH}/health", timeout=2) as response:
        return bool(response.status == 200)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stop


def main() -> None:
    signal.signal(signal.SIGTERM, _stop)
    name, cni_plugins = sys.argv[1:]
    node = Node(ClusterPaths.of(name), Path(cni_plugins))
    try:
        node.start()
        say({"ready": True})
        # nobody reads standard output from here on
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        node.supervisor.serve()
    except Stop:
        node.stop()
    except ClusterError as error:
        fail(error.what, error.remedy)
    except subprocess.CalledProcessError as error:
        fail(f"{shutil.which(error.cmd[0])} {error.cmd[1:]} failed: {error.stderr}")
    # the kernel ends whatever is left in this pid namespace, and with it the mounts and the network


if __name__ == "__main__":
    main()
