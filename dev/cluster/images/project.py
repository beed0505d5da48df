"""The project's two images: built where what goes into them changed, and brought into a cluster.

An image's tag is the hash of what goes into it, so the same sources give the same reference, and a changed
image rolls the pods that use it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dev.cluster import lifecycle
from dev.cluster.errors import ClusterError
from dev.cluster.images import buildah
from dev.cluster.images.exported import ExportedImage
from dev.cluster.paths import REPOSITORY, ClusterPaths, cache_dir, locked


@dataclass(frozen=True)
class Image:
    """source: folder of images/ with its Dockerfile. inputs: what that copies, relative to the repository."""

    name: str
    source: str
    inputs: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def repository(self) -> str:
        return f"localhost/controllable-{self.name}"

    @property
    def dockerfile(self) -> Path:
        return REPOSITORY / "images" / self.source / "Dockerfile"

    @property
    def folder(self) -> Path:
        """Holds the exported image, in a folder named by its tag."""
        return cache_dir() / "images" / self.name


CTR = ["ctr", "--namespace", "k8s.io"]
_RUNTIME_INPUTS = (
    "images/runtime",
    "constraints.txt",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "schemas",
    "model_repository",
    "models",
    "framework",
)
_ON_BASE = f"--build-arg=CPU_BASE={buildah.BASE}"
IMAGES = (
    Image("runtime", "runtime", _RUNTIME_INPUTS, (_ON_BASE, "--target=cpu")),
    Image(
        "operator",
        "operator",
        inputs=("images/operator", "constraints.txt", "operator"),
        options=(f"--build-arg=BASE={buildah.BASE}",),
    ),
)


WITH_VLLM = Image(
    "runtime-vllm",
    "runtime",
    (*_RUNTIME_INPUTS, "constraints-vllm.txt"),
    (_ON_BASE, "--target=cpu-vllm"),
)
"""Only for who asks for it: it takes minutes, and 2 GB."""


def is_outdated(reference: str) -> bool:
    """Whether a reference is to an image of the project that is not the last one built."""
    repository, _, tag = reference.rpartition(":")
    known = (*IMAGES, WITH_VLLM)
    return any(image.repository == repository and not (image.folder / tag).exists() for image in known)


def content_hash(files: Iterable[Path], root: Path) -> str:
    """A hash of names, contents and whether a file may be executed: of all that a COPY takes over."""
    digest = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        executable = bool(file.stat().st_mode & 0o100)
        digest.update(f"{file.relative_to(root)}\0{executable}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def input_files(inputs: Iterable[str], root: Path) -> Iterator[Path]:
    """The files under `inputs`, without what .dockerignore keeps out of every build."""
    for name in inputs:
        path = root / name
        if not path.exists():
            raise ClusterError(f"{path} goes into an image and is missing", "restore it from the repository")
        for file in [path] if path.is_file() else path.rglob("*"):
            folders = file.relative_to(root).parts[:-1]
            ignored = any(f == "__pycache__" or f.endswith((".egg-info", "_cache")) for f in folders)
            if file.is_file() and not ignored:
                yield file


def provide(image: Image, paths: ClusterPaths | None, console: Console) -> str:
    """Build an image unless it is there, bring it into a cluster unless it is there; returns its reference.

    One caller at a time: who builds another state of the sources meanwhile would take this export away.
    """
    tag = content_hash(input_files(image.inputs, REPOSITORY), REPOSITORY)
    reference = f"{image.repository}:{tag}"
    exported = ExportedImage(image.folder / tag)
    with locked(image.folder.with_suffix(".lock")):
        if exported.exists:
            console.print(f"{image.name}: unchanged")
        else:
            _build(image, reference, exported, console)
        if paths is not None and reference not in _ctr(paths, "images", "list", "--quiet").split():
            start = time.monotonic()
            _load(exported, reference, paths)
            console.print(f"{image.name}: loaded in {time.monotonic() - start:.1f} s")
    return reference


def _build(image: Image, reference: str, exported: ExportedImage, console: Console) -> None:
    start = time.monotonic()
    with console.status(f"{image.name}: building") as status:

        def say(step: str) -> None:
            status.update(f"{image.name}: {step[:100]}")

        buildah.build(image.dockerfile, reference, list(image.options), say)
        built = time.monotonic()
        for older in image.folder.glob("*"):
            shutil.rmtree(older)
        buildah.push(reference, exported.folder, say)
        buildah.remove([other for other in buildah.tags(image.repository) if other != reference], say)
    console.print(
        f"{image.name}: built in {built - start:.1f} s, exported in {time.monotonic() - built:.1f} s, "
        f"{exported.size / 1e6:.0f} MB"
    )


def _load(exported: ExportedImage, reference: str, paths: ClusterPaths) -> None:
    """Import an image into containerd, without the layers that are there."""
    present = set(_ctr(paths, "content", "list", "--quiet").split())
    command, environment = lifecycle.inside(paths, [*CTR, "images", "import", "--local", "-"])
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as importer:
        assert importer.stdin is not None
        assert importer.stderr is not None
        with suppress(BrokenPipeError):  # the importer says why
            exported.write_archive(reference, present, importer.stdin)
            importer.stdin.close()
        complaint = importer.stderr.read().decode()
    if importer.returncode:
        raise ClusterError(f"containerd did not take {reference}: {complaint.strip()}")


def _ctr(paths: ClusterPaths, *arguments: str) -> str:
    command, environment = lifecycle.inside(paths, [*CTR, *arguments])
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise ClusterError(f"ctr {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
    return done.stdout
