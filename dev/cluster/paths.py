"""Where things lie: everything under the user's cache folder, nothing in the checkout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from dev.cluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = Path(__file__).parent / "tools"


def cache_dir(env: Mapping[str, str] = os.environ) -> Path:
    """The folder that outlives clusters: binaries, base images, stores of images."""
    return (
        Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME", "/root")) / ".cache")
        / "controllable-inference"
    )


@dataclass(frozen=True)
class ClusterPaths:
    """The folders of one cluster. `run` is made new by every `up`; `images` survives `down`."""

    name: str
    state: Path

    @classmethod
    def of(cls, name: str) -> ClusterPaths:
        # the name becomes a folder and a cgroup
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
            raise ClusterError(
                f"CLUSTER_NAME={name!r} can't name a cluster",
                "use lower-case letters, digits and '-', at most 32 of them",
            )
        return cls(name, cache_dir() / "clusters" / name)

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def images_are_clean(self) -> Path:
        """Exists while no cluster runs and the last one left `images` without traces of its containers."""
        return self.state / "images-are-clean"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def audit_log(self) -> Path:
        return self.run / "audit.log"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def conf(self) -> Path:
        return self.run / "conf"

    @property
    def process(self) -> Path:
        """Names the node's process while the cluster is up."""
        return self.run / "process.json"

    def kubeconfig(self, user: str = "admin") -> Path:
        return self.run / "kubeconfig" / user

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One `up` or `down` of this cluster at a time, whoever calls."""
        with locked(self.state.with_suffix(".lock")):
            yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel drops it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        flock(file, LOCK_EX)
        yield
