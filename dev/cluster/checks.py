"""What the machine must offer, checked before anything is started, all at once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from dev.cluster import build
from dev.cluster.errors import ClusterError, Unfit

Has = Callable[[str], bool]


def _on_path(program: str) -> bool:
    return shutil.which(program) is not None


# What must be there → the Debian package that brings it.
TO_RUN: dict[str, str] = {
    "ip": "iproute2",
    "nft": "nftables",
    "unshare": "util-linux",
    "mount": "mount",
    "busybox": "busybox-static",
    "gcc": "build-essential",  # pause, a static program of twenty lines
}
TO_BUILD: dict[str, str] = {
    "gcc": "build-essential",
    "pkg-config": "pkg-config",
    "libseccomp.pc": "libseccomp-dev",
}
TO_MAKE_IMAGES: dict[str, str] = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
TO_JUDGE: dict[str, str] = {"promtool": "prometheus"}


def packages_lacking(needed: dict[str, str], has: Has) -> list[str]:
    """The packages to install, each once, in order."""
    return sorted({package for thing, package in needed.items() if not has(thing)})


def packages_message(packages: Iterable[str]) -> Unfit:
    names = " ".join(packages)
    return Unfit(
        f"missing: {names}", f"apt-get install -y {names}   (or run this with --install, or with CI=true)"
    )


def ensure_packages(needed: dict[str, str], *, install: bool) -> None:
    """Every program of `needed`, installed with apt where allowed; Unfit names what is missing.

    ClusterError where apt fails: the next time it may not.
    """
    packages = packages_lacking(needed, _has)
    if not packages:
        return
    if not (install and shutil.which("apt-get")):
        raise packages_message(packages)
    # No service of a package is started: at run level 1, Debian's invoke-rc.d starts none.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    print(f"installing {' '.join(packages)}", file=sys.stderr)
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ClusterError(
                f"apt-get {command[0]} failed: {done.stderr.strip()}", f"apt-get {' '.join(command)}"
            )


def ensure_host(system: str = platform.system(), user: int | None = None) -> None:
    """Linux, and root: namespaces, mounts and cgroups need both."""
    if system != "Linux":
        raise Unfit(f"this cluster needs Linux, not {system}", "with Docker, set CLUSTER=kind")
    if (os.geteuid() if user is None else user) != 0:
        raise Unfit("this cluster needs root", f"sudo -E {sys.executable} -m dev.cluster …, or CLUSTER=kind")


# Each line uses one feature of the kernel, in namespaces that are gone right after.
KERNEL_PROBES = {
    "network, mount and pid namespaces": "true",
    "bridges (module bridge)": "ip link add probe type bridge",
    "virtual ethernet pairs (module veth)": "ip link add probe0 type veth peer name probe1",
    "nftables (module nf_tables)": "nft add table inet probe",
    "connection tracking (module nft_ct)": "nft -f- <<< 'table inet t { chain c { ct state new accept; }; }'",
    "bridge netfilter (module br_netfilter)": "test -e /proc/sys/net/bridge/bridge-nf-call-iptables",
    "overlayfs (module overlay)": "grep -qw overlay /proc/filesystems",
}
MODULES = ("bridge", "veth", "br_netfilter", "nf_tables", "overlay")


def ensure_kernel() -> None:
    """Unfit that lists every feature that the kernel lacks."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--all", "--quiet", *MODULES], capture_output=True)
    lacking = []
    for feature, probe in KERNEL_PROBES.items():
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-c", probe]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            lacking.append(f"{feature}: {done.stderr.strip() or 'not there'}")
    if lacking:
        raise Unfit(
            "the kernel lacks what a node needs:\n    " + "\n    ".join(lacking),
            f"modprobe -a {' '.join(MODULES)}, or use a kernel that has them, outside of a plain container",
        )


def ensure_go() -> None:
    """A Go that can build the modules, or that may fetch one that can."""
    version, setting = build.go_env("GOVERSION", "GOTOOLCHAIN")
    if problem := go_problem(version, setting):
        raise Unfit(problem, "install a newer Go, or unset GOTOOLCHAIN so that Go fetches one itself")


def go_problem(found: str, go_toolchain: str) -> str:
    """What is wrong with the version of Go; empty if nothing is."""
    needed = build.go_version_needed()
    may_fetch = build.parse_go_version(found) >= (1, 21, 0) and go_toolchain != "local"
    if build.parse_go_version(found) >= needed or may_fetch:
        return ""
    return f"Go {'.'.join(map(str, needed))} or newer is needed, this is {found}"


def _has(thing: str) -> bool:
    if thing.endswith(".pc"):
        command = ["pkg-config", "--exists", Path(thing).stem]
        return _on_path("pkg-config") and subprocess.run(command, capture_output=True).returncode == 0
    return _on_path(thing)
