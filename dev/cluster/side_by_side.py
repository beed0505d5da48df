"""Several clusters at once, for one run of pytest: a worker of pytest-xdist inside each of them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

from dev.cluster.errors import ClusterError

_DEV_CLUSTER = (sys.executable, "-m", "dev.cluster")


def start(names: Sequence[str]) -> None:
    """Start the clusters, with the project's images in them; binaries and images are built already.

    Raises:
        ClusterError: one of them is up already, or does not come up; it has said why.
    """
    for name in names:
        if _is_up(name):
            raise ClusterError(f"cluster {name} is up already", f"CLUSTER_NAME={name} make cluster-down")
    command = [*_DEV_CLUSTER, "run", "--keep", "--", "true"]
    starting = [subprocess.Popen(command, env=_environment(name)) for name in names]
    statuses = [process.wait() for process in starting]
    if any(statuses):
        raise ClusterError("not all clusters came up", "the reason is above")


def pytest(names: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The command line of a pytest that has a worker in each cluster.

    A file's tests stay together, as they share fixtures of their module, and files are taken in the order in
    which they are given: name those that take long first.
    """
    workers = [
        f"popen//python=env CLUSTER_NAME={name} {shlex.join([*_DEV_CLUSTER, 'run', '--', sys.executable])}"
        for name in names
    ]
    distribution = ["--dist=loadfile", "--no-loadscope-reorder"]
    return [
        sys.executable,
        "-m",
        "pytest",
        *distribution,
        *(f"--tx={worker}" for worker in workers),
        *arguments,
    ]


def stop(names: Sequence[str]) -> None:
    """Stop those of the clusters that are up."""
    stopping = [subprocess.Popen([*_DEV_CLUSTER, "down"], env=_environment(name)) for name in names]
    for process in stopping:
        process.wait()


def _is_up(name: str) -> bool:
    status = subprocess.run([*_DEV_CLUSTER, "status"], env=_environment(name), capture_output=True)
    return status.returncode == 0


def _environment(name: str) -> dict[str, str]:
    return {**os.environ, "CLUSTER_NAME": name}
