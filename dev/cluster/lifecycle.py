"""Start and stop a cluster, from the host.

A cluster is one process (`node.py`) that is the first of a pid namespace, with a mount and a network
namespace of its own. Ending it ends everything in it; only the cgroup and the state folder are left to
remove.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import build, cgroups, pki
from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY, ClusterPaths
from dev.cluster.process import Process

Report = Callable[[str, float], None]  # hears of each step that is done, and the seconds it took

STOP_PATIENCE = 60.0  # seconds; removing gigabytes of outdated images is part of stopping


@dataclass(frozen=True)
class Running:
    """A cluster that is up: its first process, and the folders that hold its programs."""

    node: Process
    programs: list[Path]


def running(paths: ClusterPaths) -> Running | None:
    node = Process.load(paths.process)
    if node is None:
        return None
    return Running(node, [Path(p) for p in json.loads(paths.process.read_text())["programs"]])


def require_running(paths: ClusterPaths) -> Running:
    """The cluster that is up; ClusterError when it is not."""
    cluster = running(paths)
    if cluster is None:
        raise ClusterError(f"cluster {paths.name!r} is not up", "python -m dev.cluster up")
    return cluster


def up(paths: ClusterPaths, report: Report) -> bool:
    """Start the cluster. False if it was up already. Whatever goes wrong leaves nothing behind."""
    with paths.locked():
        if running(paths):
            return False
        _clean(paths)
        try:
            _start(paths, report)
        except BaseException:
            _stop(paths)
            raise
        return True


def down(paths: ClusterPaths, *, purge: bool = False) -> bool:
    """Stop the cluster and remove what it used; `purge` also its store of images. False if it was not up."""
    with paths.locked():
        was_up = running(paths) is not None
        _stop(paths)
        if purge:
            shutil.rmtree(paths.state, ignore_errors=True)
        return was_up


def environment(paths: ClusterPaths, cluster: Running) -> dict[str, str]:
    """The variables with which kubectl, helm and client libraries find the cluster."""
    path = os.pathsep.join([*map(str, cluster.programs), os.environ.get("PATH", "")])
    config, record = str(paths.kubeconfig()), str(paths.audit_log)
    return {**os.environ, "PATH": path, "KUBECONFIG": config, "AUDIT_LOG": record}


def inside(paths: ClusterPaths, command: list[str]) -> tuple[list[str], dict[str, str]]:
    """A command line and environment that run `command` on the node, in the caller's folder.

    ClusterError when the cluster is not up.
    """
    cluster = require_running(paths)
    namespaces = [
        "nsenter",
        f"--target={cluster.node.pid}",
        "--net",
        "--mount",
        "--pid",
        f"--wdns={Path.cwd()}",
    ]
    # nsenter waits for the command and passes no signal on: when it is ended, the command shall end too
    return [*namespaces, "setpriv", "--pdeathsig", "TERM", *command], environment(paths, cluster)


def _start(paths: ClusterPaths, report: Report) -> None:
    begun = time.monotonic()
    for folder in (paths.run, paths.conf, paths.logs, paths.images):
        folder.mkdir(parents=True, exist_ok=True)
    pki.create(paths)
    cgroups.create(paths.name)
    paths.images_are_clean.unlink(missing_ok=True)  # from here on only an orderly stop leaves them so
    report("certificates", time.monotonic() - begun)
    programs = build.binaries()
    cni_plugins = next(folder for folder in programs if (folder / "bridge").exists())
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    with (paths.logs / "node.log").open("wb") as log:
        starter = subprocess.Popen(
            [
                *unshare,
                "--propagation",
                "slave",
                sys.executable,
                "-m",
                "dev.cluster.node",
                paths.name,
                cni_plugins,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
            start_new_session=True,  # Ctrl-C is for this process, which then stops the node in order
            text=True,
        )
    try:
        _first_child(starter).save(paths.process, programs=[str(p) for p in programs])
    except BaseException:
        starter.kill()  # nobody else knows of it yet; its child goes with it
        raise
    for line in starter.stdout or ():
        said = json.loads(line)
        if "step" in said:
            report(said["step"], said["seconds"])
        elif "error" in said:
            raise ClusterError(said["error"], said["remedy"])
        else:
            return
    raise ClusterError(
        f"the node ended early:\n{(paths.logs / 'node.log').read_text()}", f"logs are in {paths.logs}"
    )


def _first_child(starter: subprocess.Popen[str]) -> Process:
    """The node's first process: the child that unshare forks into the new pid namespace."""
    while starter.poll() is None:
        if process := Process.find(starter.pid):
            for child in process.children():
                return child
        time.sleep(0.005)
    raise ClusterError(
        "unshare made no namespaces", "run as root, on a kernel with net, pid and mount namespaces"
    )


def _stop(paths: ClusterPaths) -> None:
    node = Process.load(paths.process)
    if node is not None:
        os.kill(node.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE
        while node.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        while node.alive:  # its namespace, and so every process in it, ends with it
            os.kill(node.pid, signal.SIGKILL)
            time.sleep(0.02)
    _clean(paths)


def _clean(paths: ClusterPaths) -> None:
    """Remove what a cluster that no longer runs has left, be it after a crash of the machine."""
    cgroups.remove(paths.name)
    shutil.rmtree(paths.run, ignore_errors=True)
    if not paths.images_are_clean.exists():
        shutil.rmtree(paths.images, ignore_errors=True)
