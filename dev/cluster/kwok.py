"""KWOK: nodes that only pretend, and pods on them that run without a container. Inside a cluster."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from dev.cluster import build

CAPACITY = {"cpu": "1000k", "memory": "1Pi", "ephemeral-storage": "1Pi", "pods": "10k"}
_ANNOTATION = ("kwok.x-k8s.io/node", "fake")


def node(name: str, labels: dict[str, str], resources: dict[str, str]) -> dict[str, Any]:
    """A node that KWOK makes ready, with room for any number of pods."""
    capacity = CAPACITY | resources
    metadata = {
        "name": name,
        "annotations": dict([_ANNOTATION]),
        "labels": labels | {"kubernetes.io/hostname": name},
    }
    return {"metadata": metadata, "status": {"capacity": capacity, "allocatable": capacity}}


def is_ready(node: Any) -> bool:
    """Whether a V1Node may have pods."""
    return any(item.type == "Ready" and item.status == "True" for item in node.status.conditions or [])


@contextmanager
def running(logs: Path) -> Iterator[None]:
    """Someone to make such nodes ready, and their pods run."""
    config = logs / "kwok-stages.yaml"
    config.write_text("---\n".join(stage.read_text() for stage in _stages()))
    with (logs / "kwok.log").open("wb") as log:
        command = [str(build.folder(build.KWOK) / "kwok"), f"--config={config}", "--manage-all-nodes=false"]
        # without a Lease a node counts as lost after 50 s, and its pods as not ready
        command += ["--node-lease-duration-seconds=40"]
        command += [f"--manage-nodes-with-annotation-selector={'='.join(_ANNOTATION)}"]
        kwok = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        kwok.terminate()
        kwok.wait(10)


@contextmanager
def without_policy_enforcer() -> Iterator[None]:
    """The local cluster's own stand-in for a CNI reads all pods every second; no pod of KWOK's needs it."""
    commands = {process: " ".join(process.cmdline()) for process in psutil.process_iter()}
    enforcers = [process for process, command in commands.items() if "dev.cluster.netpol" in command]
    for process in enforcers:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in enforcers:
            process.send_signal(signal.SIGCONT)


def _stages() -> list[Path]:
    """KWOK's own stages: nodes that become ready and stay so, pods that run, are ready and end at once."""
    command = ["go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"]
    found = subprocess.run(command, cwd=build.KWOK.module, capture_output=True, text=True, check=True)
    stages = Path(found.stdout.strip()) / "kustomize/stage"
    folders = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    files = [file for folder in folders for file in sorted((stages / folder).glob("*.yaml"))]
    return [file for file in files if yaml.safe_load(file.read_text())["kind"] == "Stage"]
