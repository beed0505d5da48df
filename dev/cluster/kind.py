"""CLUSTER=kind: the same commands with kind, where a Docker engine runs. Untested: written from its manual.

https://kind.sigs.k8s.io/docs/user/quick-start/
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY, cache_dir


def chosen() -> bool:
    return os.environ.get("CLUSTER") == "kind"


def is_up(name: str) -> bool:
    return name in _run("kind", "get", "clusters").split()


def up(name: str) -> None:
    if not is_up(name):
        _run("kind", "create", "cluster", "--name", name, "--wait", "120s")


def down(name: str) -> None:
    _run("kind", "delete", "cluster", "--name", name)


def environment(name: str) -> dict[str, str]:
    config = cache_dir() / "kind" / name
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(_run("kind", "get", "kubeconfig", "--name", name))
    return {**os.environ, "KUBECONFIG": str(config)}


def load(name: str, archive: Path) -> None:
    _run("kind", "load", "image-archive", str(archive), "--name", name)


def images(name: str) -> dict[str, str]:
    """Build both images with Docker and load them; Docker's own cache makes the second time quick."""
    references = {}
    for image, options in (("runtime", ["--target=cpu"]), ("operator", [])):
        with tempfile.NamedTemporaryFile() as identity:
            options += [f"--file=images/{image}/Dockerfile", f"--iidfile={identity.name}"]
            _run("docker", "build", *options, str(REPOSITORY))
            digest = Path(identity.name).read_text().removeprefix("sha256:")
        references[image] = f"localhost/controllable-{image}:{digest[:12]}"
        _run("docker", "tag", digest, references[image])
        _run("kind", "load", "docker-image", references[image], "--name", name)
    return references


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE)
    except FileNotFoundError as error:
        raise ClusterError(f"{command[0]} is not on PATH", "install it, or unset CLUSTER") from error
    if done.returncode:
        raise ClusterError(f"{' '.join(command)} failed with status {done.returncode}")
    return done.stdout
