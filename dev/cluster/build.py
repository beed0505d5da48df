"""The binaries: built once from pinned Go modules, cached by everything they are built from.

All but one come from the module in `tools/`: its `tool` lines name them, its go.mod and go.sum pin them. As
they agree on the versions of what they share, each package is compiled once, whoever needs it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.cluster.errors import ClusterError, Unfit
from dev.cluster.paths import TOOLS, cache_dir, locked


@dataclass(frozen=True)
class Part:
    """Programs that one `go build` makes.

    Attributes:
        packages: their import paths; those that begin with "./" lie in the module's own folder.
        names: for a program that is not called as its package is, what it is to be called; several for one
            that is called by the names of what it holds.
        module: the folder whose go.mod pins them.
    """

    name: str
    packages: tuple[str, ...]
    tags: str = ""
    cgo: bool = False
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    module: Path = TOOLS


KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet")
NODE = (
    Part(
        "node",
        (
            "./coredns",
            "./kubernetes",
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
            "github.com/containernetworking/plugins/plugins/main/bridge",
            "github.com/containernetworking/plugins/plugins/main/loopback",
            "github.com/containernetworking/plugins/plugins/meta/portmap",
            "go.etcd.io/etcd/server/v3",
            "helm.sh/helm/v3/cmd/helm",
            "k8s.io/kubernetes/cmd/kubectl",
        ),
        tags="no_btrfs,no_devmapper,no_zfs",  # snapshotters of containerd that no node here uses
        names=(("server", ("etcd",)), ("kubernetes", KUBERNETES)),
    ),
    # without libseccomp a pod that asks for the RuntimeDefault profile can't start
    Part("runc", ("github.com/opencontainers/runc",), tags="seccomp", cgo=True),
)
KWOK = Part("kwok", ("sigs.k8s.io/kwok/cmd/kwok",))
# No part of a cluster: what some tests judge manifests and statuses with. Built when asked for.
JUDGES = (
    Part("verdicts", ("./kstatus", "helm.sh/helm/v4/cmd/helm")),
    # reads kinds that today's k8s.io/api no longer has
    Part("score", ("github.com/zegl/kube-score/cmd/kube-score",), module=TOOLS / "score"),
)

Progress = Callable[[int, int], None]  # how many packages are compiled, of how many


def sources(part: Part) -> dict[str, bytes]:
    """What a part is built from, by name."""
    own = [part.module / package for package in part.packages if package.startswith("./")]
    files = [
        part.module / "go.mod",
        part.module / "go.sum",
        *(f for folder in own for f in folder.glob("*.go")),
    ]
    return {str(file.relative_to(part.module)): file.read_bytes() for file in files}


def build_key(part: Part, files: dict[str, bytes], toolchain: str) -> str:
    """Same key, same binaries: covers the sources, the build's settings and the Go that compiles them."""
    settings = (part.name, part.packages, part.tags, part.cgo, part.names, _COMPILER, toolchain)
    digest = hashlib.sha256(repr(settings).encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def go_version_needed() -> tuple[int, ...]:
    """The newest `go` line among the modules."""
    modules = {part.module for part in (*NODE, KWOK, *JUDGES)}
    lines = (re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.M) for module in modules)
    return max(parse_go_version(line[1]) for line in lines if line)


def parse_go_version(text: str) -> tuple[int, ...]:
    """'go1.26.8' or '1.26' as numbers that compare."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        raise ClusterError(f"{text!r} is not a version of Go")
    return tuple(int(part or 0) for part in found.groups())


def ldflags(go_mod: str) -> str:
    """No symbols, and the version of Kubernetes, which its programs report."""
    flags = ["-s", "-w"]
    if version := re.search(r"^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\S*)", go_mod, re.M):
        component = "k8s.io/component-base/version"
        stamps = {
            f"{component}.gitVersion": version[1],
            f"{component}.gitMajor": version[2],
            f"{component}.gitMinor": version[3],
            f"{component}.gitTreeState": "clean",
            "k8s.io/client-go/pkg/version.gitVersion": version[1],
        }
        flags += [f"-X {variable}={value}" for variable, value in stamps.items()]
    return " ".join(flags)


def go_env(*variables: str) -> list[str]:
    """Settings of the Go on PATH, as the build sees them."""
    if not shutil.which("go"):
        needed = ".".join(map(str, go_version_needed()))
        raise Unfit("Go is not on PATH; Kubernetes is built with it", f"install Go {needed} or newer")
    try:
        return _go(NODE[0], "env", *variables).split()
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"`go env` failed: {error.stderr.strip()}") from error


def toolchain() -> str:
    return " ".join(go_env("GOVERSION", "GOOS", "GOARCH"))


def binaries() -> list[Path]:
    """The folders that hold a node's programs; only after `build`."""
    go = toolchain()
    return [_target(part, go) for part in NODE]


def folder(part: Part) -> Path:
    """The folder that holds a part's programs; only after `build`."""
    return _target(part, toolchain())


def missing(parts: tuple[Part, ...] = NODE) -> list[Part]:
    """Those of `parts` whose binaries are not in the cache."""
    go = toolchain()
    return [part for part in parts if not _target(part, go).exists()]


def judge(program: str) -> Path | None:
    """A program of JUDGES, None where it is not built."""
    go = toolchain()
    paths = (_target(part, go) / program for part in JUDGES)
    return next((path for path in paths if path.exists()), None)


def build(part: Part, progress: Progress) -> float:
    """Build one part into the cache, unless somebody else does so meanwhile. Returns the seconds it took."""
    start, target = time.monotonic(), _target(part, toolchain())
    with locked(target.parent / f"{part.name}.lock"):
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            _compile(part, unfinished, progress)
            for program, names in part.names:
                for name in names:
                    (unfinished / name).hardlink_to(unfinished / program)
                (unfinished / program).unlink()
            unfinished.rename(target)
    return time.monotonic() - start


def _target(part: Part, go: str) -> Path:
    return cache_dir() / "bin" / f"{part.name}-{build_key(part, sources(part), go)}"


# Without what a debugger would need of each package: a sixth less to write, and a little less to compute.
_COMPILER = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


def _compile(part: Part, into: Path, progress: Progress) -> None:
    tags = f"-tags={part.tags}"
    flags = ldflags((part.module / "go.mod").read_text())
    try:
        # loading the packages downloads the modules that they lie in, and no others of go.sum
        total = len(_go(part, "list", "-deps", tags, *part.packages).split())
        command = [*_NICE, "go", "build", "-v", tags, *_COMPILER, f"-ldflags={flags}", f"-o={into}/"]
        command += part.packages
        process = subprocess.Popen(
            command, cwd=part.module, env=_env(part), text=True, stderr=subprocess.PIPE
        )
        said: list[str] = []
        try:
            for line in process.stderr or ():
                said.append(line)
                progress(len(said), total)
        except BaseException:
            process.terminate()
            raise
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(said[-20:]))
    except subprocess.CalledProcessError as error:
        raise ClusterError(
            f"building {part.name} failed:\n{error.stderr.strip()}",
            "the Go module proxy must be reachable (GOPROXY); runc needs gcc, pkg-config and libseccomp-dev",
        ) from error


# A build takes both cores for minutes: leave the person at the keyboard some.
_NICE = ("nice", "-n", "5")


def _env(part: Part) -> dict[str, str]:
    settings = {"CGO_ENABLED": str(int(part.cgo)), "GOFLAGS": "", "GOWORK": "off"}
    return {"GOGC": "400", **os.environ, **settings}  # compilers that end soon need not collect garbage often


def _go(part: Part, *arguments: str) -> str:
    return subprocess.run(
        ["go", *arguments], cwd=part.module, env=_env(part), text=True, capture_output=True, check=True
    ).stdout
