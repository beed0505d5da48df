"""Dockerfiles built without a daemon: buildah, on a Debian made by mmdebstrap instead of one pulled."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from dev.cluster.errors import ClusterError
from dev.cluster.paths import REPOSITORY, cache_dir, locked

SUITE = "bookworm"
BASE = f"localhost/debian:{SUITE}-slim"  # stands in for the image of that name
Say = Callable[[str], None]


def build(dockerfile: Path, reference: str, options: list[str], say: Say) -> None:
    """Build a Dockerfile of the repository from the first layer that changed; `say` hears of each step."""
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    packages = Path(os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv")
    packages.mkdir(parents=True, exist_ok=True)
    with locked(cache_dir() / "buildah.lock"):
        _ensure_base(say)
        _buildah(
            [
                "build",
                "--layers",
                "--isolation=chroot",  # no container runtime, no network of its own
                "--network=host",
                f"--file={dockerfile}",
                f"--tag={reference}",
                f"--ignorefile={REPOSITORY / '.dockerignore'}",
                # what pip and uv use on this machine, lent to the build and not kept in the image
                f"--volume={certificates}:/var/cache/build/certificates.crt:ro",
                f"--volume={packages}:/var/cache/build/uv",
                "--build-arg=PIP_CERT=/var/cache/build/certificates.crt",
                "--build-arg=SSL_CERT_FILE=/var/cache/build/certificates.crt",
                "--build-arg=UV_CACHE_DIR=/var/cache/build/uv",
                *options,
                str(REPOSITORY),
            ],
            say,
        )


def push(reference: str, folder: Path, say: Say) -> None:
    """Export an image into a folder: see `exported.ExportedImage`."""
    unfinished = folder.with_name(f"unfinished-{folder.name}")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    _buildah(["push", "--disable-compression", "--format=oci", reference, f"dir:{unfinished}"], say)
    unfinished.rename(folder)


def remove(references: list[str], say: Say) -> None:
    if references:
        _buildah(["rmi", "--force", *references], say)


def tags(repository: str) -> list[str]:
    """All references of a repository in buildah's storage."""
    done = subprocess.run(
        [*_command(), "images", "--format={{.Name}}:{{.Tag}}"], text=True, capture_output=True, check=True
    )
    return [line for line in done.stdout.split() if line.startswith(f"{repository}:")]


def _ensure_base(say: Say) -> None:
    if BASE in tags(BASE.rpartition(":")[0]):
        return
    archive = cache_dir() / "images" / f"debian-{SUITE}.tar"
    if not archive.exists():
        say("making a Debian base with mmdebstrap (a minute, once)")
        archive.parent.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_name(f"unfinished-{archive.name}")
        _run(["mmdebstrap", "--variant=minbase", "--quiet", SUITE, str(unfinished)], say)
        unfinished.rename(archive)
    container = subprocess.run(
        [*_command(), "from", "scratch"], text=True, capture_output=True, check=True
    ).stdout.strip()
    _buildah(["add", "--quiet", container, str(archive), "/"], say)
    _buildah(["commit", "--quiet", "--rm", container, BASE], say)


def _command() -> list[str]:
    storage = cache_dir() / "buildah"
    return [
        "buildah",
        f"--root={storage / 'storage'}",
        f"--runroot={storage / 'run'}",
        "--storage-driver=overlay",
    ]


def _buildah(arguments: list[str], say: Say) -> None:
    _run([*_command(), *arguments], say)


def _run(command: list[str], say: Say) -> None:
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    last: deque[str] = deque(maxlen=30)
    try:
        for line in _lines(process):
            last.append(line)
            if step := re.match(r"(?:\[\S+\] )?STEP (\S+: .*)", line):
                say(step[1])
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.wait():
        raise ClusterError(f"{' '.join(command[:1])} failed:\n" + "\n".join(last))


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    for line in process.stdout or ():
        yield line.rstrip()
