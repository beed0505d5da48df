"""The binaries: built once from the Go tool modules in `tools/`, cached by everything they are built from.

Each folder of `tools/` is a Go module whose `tool` lines name the programs and whose go.mod and go.sum pin
them.
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
class Module:
    """One Go module of tools/ and what its build needs beyond the defaults."""

    name: str
    tags: str = ""
    cgo: bool = False
    stamps: str = ""  # package variables that take the version, for programs that report one
    renames: tuple[tuple[str, str], ...] = ()  # a program whose package is not called what everybody calls it

    @property
    def folder(self) -> Path:
        return TOOLS / self.name


COMPONENT_VERSION = "k8s.io/component-base/version"
MODULES = (
    Module("kubernetes", stamps=f"{COMPONENT_VERSION}.gitVersion k8s.io/client-go/pkg/version.gitVersion"),
    Module("etcd", renames=(("server", "etcd"),)),
    Module("containerd", tags="no_btrfs,no_devmapper,no_zfs"),
    # without libseccomp a pod that asks for the RuntimeDefault profile can't start
    Module("runc", tags="seccomp", cgo=True),
    Module("cni"),
    Module("addons"),
)
# No part of a cluster: what some tests judge manifests and statuses with (see README). Built when asked for.
JUDGES = (Module("score"), Module("verdicts"))


def sources(module: Module) -> dict[str, bytes]:
    """What a module is built from, by name."""
    files = sorted(p for p in module.folder.rglob("*") if p.name in ("go.mod", "go.sum") or p.suffix == ".go")
    return {str(p.relative_to(module.folder)): p.read_bytes() for p in files}


def build_key(module: Module, files: dict[str, bytes], toolchain: str) -> str:
    """Same key, same binaries: covers the sources, the build's settings and the Go that compiles them."""
    digest = hashlib.sha256(repr((module, toolchain)).encode())
    for name, content in sorted(files.items()):
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def go_version_needed() -> tuple[int, ...]:
    """The newest `go` line among the modules."""
    modules = (*MODULES, *JUDGES)
    lines = (re.search(r"^go (\S+)$", (m.folder / "go.mod").read_text(), re.M) for m in modules)
    return max(parse_go_version(line[1]) for line in lines if line)


def parse_go_version(text: str) -> tuple[int, ...]:
    """'go1.26.8' or '1.26' as numbers that compare."""
    found = re.match(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if not found:
        raise ClusterError(f"{text!r} is not a version of Go")
    return tuple(int(part or 0) for part in found.groups())


def ldflags(module: Module, go_mod: str) -> str:
    flags = ["-s", "-w"]
    if module.stamps:
        version = re.search(rf"^\s*(?:require )?\S+/{module.name} (v(\d+)\.(\d+)\S*)", go_mod, re.M)
        if not version:
            raise ClusterError(f"tools/{module.name}/go.mod names no version of {module.name}")
        flags += [f"-X {variable}={version[1]}" for variable in module.stamps.split()]
        flags += [
            f"-X {COMPONENT_VERSION}.gitMajor={version[2]} -X {COMPONENT_VERSION}.gitMinor={version[3]}"
        ]
        flags += [f"-X {COMPONENT_VERSION}.gitTreeState=clean"]
    return " ".join(flags)


def go_env(*variables: str) -> list[str]:
    """Settings of the Go on PATH, as the build sees them."""
    if not shutil.which("go"):
        needed = ".".join(map(str, go_version_needed()))
        raise Unfit("Go is not on PATH; Kubernetes is built with it", f"install Go {needed} or newer")
    try:
        return _go(MODULES[0], "env", *variables).split()
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"`go env` failed: {error.stderr.strip()}") from error


def toolchain() -> str:
    return " ".join(go_env("GOVERSION", "GOOS", "GOARCH"))


def binaries() -> list[Path]:
    """The folders that hold the built programs; only after `build`."""
    go = toolchain()
    return [_target(module, go) for module in MODULES]


def folder(module: Module) -> Path:
    """The folder that holds a module's programs; only after `build`."""
    return _target(module, toolchain())


def missing(modules: tuple[Module, ...] = MODULES) -> list[Module]:
    """Those of `modules` whose binaries are not in the cache."""
    go = toolchain()
    return [module for module in modules if not _target(module, go).exists()]


def judge(program: str) -> Path | None:
    """A program of JUDGES, None where it is not built."""
    go = toolchain()
    paths = (_target(module, go) / program for module in JUDGES)
    return next((path for path in paths if path.exists()), None)


def build(module: Module, progress: Callable[[int, int], None]) -> float:
    """Build one module into the cache, unless somebody else does so meanwhile.

    `progress` hears how many of the packages are compiled. Returns the seconds it took.
    """
    start, target = time.monotonic(), _target(module, toolchain())
    with locked(target.parent / f"{module.name}.lock"):
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            _compile(module, unfinished, progress)
            for package, program in module.renames:
                (unfinished / package).rename(unfinished / program)
            unfinished.rename(target)
    return time.monotonic() - start


def _target(module: Module, go: str) -> Path:
    return cache_dir() / "bin" / f"{module.name}-{build_key(module, sources(module), go)}"


def _compile(module: Module, into: Path, progress: Callable[[int, int], None]) -> None:
    try:
        _go(module, "mod", "download")
        total = len(_go(module, "list", "-deps", "tool").split())
        command = [*_NICE, "go", "build", "-v", "-trimpath", "-buildvcs=false", f"-tags={module.tags}"]
        command += [
            f"-ldflags={ldflags(module, (module.folder / 'go.mod').read_text())}",
            "-o",
            f"{into}/",
            "tool",
        ]
        process = subprocess.Popen(
            command, cwd=module.folder, env=_env(module), text=True, stderr=subprocess.PIPE
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
            f"building {module.name} failed:\n{error.stderr.strip()}",
            "the Go module proxy must be reachable (GOPROXY); runc needs gcc, pkg-config and libseccomp-dev",
        ) from error


# A build takes both cores for minutes: leave the person at the keyboard some.
_NICE = ("nice", "-n", "5")


def _env(module: Module) -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": str(int(module.cgo)), "GOFLAGS": "", "GOWORK": "off"}


def _go(module: Module, *arguments: str) -> str:
    return subprocess.run(
        ["go", *arguments], cwd=module.folder, env=_env(module), text=True, capture_output=True, check=True
    ).stdout
