"""The images in a node's containerd. Runs on the node (`ctr` on PATH, containerd's default socket)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from dev.cluster.errors import ClusterError


class Store:
    def answers(self) -> bool:
        return _ctr("version").returncode == 0

    def references(self) -> set[str]:
        return set(self._run("images", "list", "--quiet").split())

    def load_new(self, archives: Mapping[str, Path]) -> list[str]:
        """Import the archives whose image is not there yet."""
        present = self.references()
        new = [reference for reference in archives if reference not in present]
        for reference in new:
            self.load(archives[reference])
        return new

    def load(self, archive: Path) -> None:
        self._run("images", "import", "--local", str(archive))

    def remove(self, outdated: Callable[[str], bool]) -> None:
        """Remove the images whose reference is outdated, under all their names, and what only they needed."""
        images = [line.split()[:3] for line in self._run("images", "list").splitlines()[1:]]
        # kubelet's side of containerd holds each image by its identity, too
        named = [image for image in images if not image[0].startswith("sha256:")]
        kept = {digest for reference, _, digest in named if not outdated(reference)}
        gone = {digest for reference, _, digest in named if outdated(reference)} - kept
        if references := [reference for reference, _, digest in images if digest in gone]:
            self._run("images", "remove", "--sync", *references)

    def forget_containers(self) -> None:
        """Drop what containerd knows of containers whose processes are gone."""
        if containers := self._run("containers", "list", "--quiet").split():
            self._run("containers", "delete", *containers)
        if sandboxes := [line.split()[0] for line in self._run("sandboxes", "list").splitlines()[1:]]:
            self._run("sandboxes", "remove", "--force", *sandboxes)

    def _run(self, *arguments: str) -> str:
        done = _ctr(*arguments)
        if done.returncode:
            raise ClusterError(f"ctr {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        return done.stdout


def _ctr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ctr", "--namespace", "k8s.io", *arguments], text=True, capture_output=True)
