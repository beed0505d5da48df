"""The cgroup that holds a cluster's pods, on hosts with cgroup v2, v1 or both."""

from __future__ import annotations

import time
from pathlib import Path

from dev.cluster.errors import ClusterError

FILESYSTEM = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io")


def name_of(cluster: str) -> str:
    return f"controllable-{cluster}"


def hierarchies(filesystem: Path = FILESYSTEM) -> list[Path]:
    """The roots under which a cgroup must exist: one on v2, one for each controller on v1."""
    if (filesystem / "cgroup.controllers").exists():
        return [filesystem]
    return [d for d in sorted(filesystem.iterdir()) if not d.is_symlink() and (d / "cgroup.procs").exists()]


def create(cluster: str, filesystem: Path = FILESYSTEM) -> None:
    """Make the cluster's cgroup, able to take pods with every limit."""
    roots = hierarchies(filesystem)
    if not roots:
        raise ClusterError(f"no cgroup hierarchy is mounted under {filesystem}", "mount cgroup2 there")
    for root in roots:
        group = root / name_of(cluster)
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # v1: empty at first, and then nothing may run in it
            if (group / setting).exists() and root != filesystem:
                (group / setting).write_text((root / setting).read_text())
    if roots == [filesystem]:
        _delegate(filesystem)
        _delegate(filesystem / name_of(cluster))


def _delegate(group: Path) -> None:
    """v2: let the children of `group` use the controllers that it has."""
    have = (group / "cgroup.controllers").read_text().split()
    lacking = [c for c in CONTROLLERS if c in have and c not in _read(group / "cgroup.subtree_control")]
    try:
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{c}" for c in lacking))
    except OSError as error:
        raise ClusterError(
            f"{group} can't pass {', '.join(lacking)} on to the cluster: {error}",
            "on cgroup v2 run where the root cgroup holds no processes of its own (not in a plain container)",
        ) from error


def processes(cluster: str, filesystem: Path = FILESYSTEM) -> set[int]:
    """Process ids in the cluster's pods, as the caller's pid namespace knows them."""
    found: set[int] = set()
    for root in hierarchies(filesystem):
        for file in (root / name_of(cluster)).rglob("cgroup.procs"):
            found.update(int(pid) for pid in _read(file) if pid != "0")
    return found


def remove(cluster: str, filesystem: Path = FILESYSTEM, patience: float = 5.0) -> None:
    """Remove the cluster's cgroup and all under it; their processes must be gone or going."""
    deadline = time.monotonic() + patience
    for root in hierarchies(filesystem):
        group = root / name_of(cluster)
        children = sorted((d for d in group.rglob("*") if d.is_dir()), reverse=True)
        for directory in [*children, *([group] if group.exists() else [])]:
            while True:
                try:
                    directory.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:  # busy for a moment after its last process
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)


def _read(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # the cgroup went away meanwhile
        return []
