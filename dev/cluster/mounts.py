"""The node's own view of the file system.

kubelet, containerd and CNI use some paths whatever their flags say. In the node's mount namespace those
paths lead into the cluster's state folder; the host's folders of the same name are neither seen nor
touched, and all of it is gone with the namespace.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from dev.cluster.paths import ClusterPaths

# kubelet sets these for the whole machine. The node sees files of its own that say they are set already.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def create(paths: ClusterPaths) -> None:
    """Arrange the mounts in the mount namespace of this process, which must be its own."""
    _own_sys()
    _own_var_lib({"kubelet": paths.run / "kubelet", "cni": paths.run / "cni", "containerd": paths.images})
    _bind(paths.run / "var-log", Path("/var/log"))
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name, value in KERNEL_SETTINGS.items():
        setting = paths.run / "sysctl" / name
        setting.parent.mkdir(parents=True, exist_ok=True)
        setting.write_text(value)
        _mount("--bind", str(setting), f"/proc/sys/{name}")
    # what is mounted from here on spreads to containers (mountPropagation), and never to the host
    _mount("--make-rshared", "/")


def _own_sys() -> None:
    """A /sys that shows this network namespace's devices, with the host's cgroups."""
    new = Path("/mnt")
    _mount("-t", "sysfs", "sysfs", str(new))
    _mount("--rbind", "/sys/fs/cgroup", str(new / "fs" / "cgroup"))
    _mount("--move", str(new), "/sys")


def _own_var_lib(folders: dict[str, Path]) -> None:
    """A /var/lib with everything that the host's has, except `folders`, which lead elsewhere."""
    host = Path("/var/lib")
    ours = Path("/mnt")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(ours))
    for entry in host.iterdir():
        target = ours / entry.name
        if entry.is_symlink():
            target.symlink_to(entry.readlink())
        elif entry.is_dir() and entry.name not in folders:
            target.mkdir()
            _mount("--rbind", str(entry), str(target))
    for name, folder in folders.items():
        (ours / name).mkdir()
        _bind(folder, ours / name)
    _mount("--move", str(ours), str(host))


def _bind(folder: Path, target: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(folder), str(target))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True, text=True)
