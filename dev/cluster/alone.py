"""For programs that need a local cluster to themselves: they are run again inside a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.cluster import build, ending, lifecycle
from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY, ClusterPaths

_LOGS = "OWN_CLUSTER_LOGS"


def logs() -> Path | None:
    """The cluster's folder of logs; None outside, where `run_inside` is for."""
    return Path(os.environ[_LOGS]) if _LOGS in os.environ else None


def run_inside(name: str, module: str, arguments: Sequence[str] = ()) -> None:
    """Run a module in a cluster that is started for it and ended after it, with KWOK at hand.

    Args:
        name: of the cluster; CLUSTER_NAME may name another.

    Raises:
        ClusterError: such a cluster is up already.
        subprocess.CalledProcessError: the cluster or the module failed, and said why.
    """
    paths = ClusterPaths.of(os.environ.setdefault("CLUSTER_NAME", name))
    if lifecycle.running(paths):
        raise ClusterError(
            f"cluster {paths.name} is up already", f"CLUSTER_NAME={paths.name} make cluster-down"
        )
    _dev_cluster("build", "--install")
    build.build(build.KWOK, lambda *_: None)
    try:
        _dev_cluster("up", "--install")
        line, environment = lifecycle.inside(paths, [sys.executable, "-m", module, *arguments])
        if status := ending.run(line, env=environment | {_LOGS: str(paths.logs)}):
            raise subprocess.CalledProcessError(status, line)
    finally:
        _dev_cluster("down")


def _dev_cluster(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dev.cluster", *arguments], check=True, cwd=REPOSITORY)
