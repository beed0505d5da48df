"""The images that every cluster holds: pause (containerd needs it), busybox (for tests and people)."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from dev.cluster.components import PAUSE_IMAGE
from dev.cluster.images.oci import File, image_archive
from dev.cluster.paths import cache_dir, locked

BUSYBOX_IMAGE = "localhost/busybox:1"
BUSYBOX = Path("/bin/busybox")
PAUSE_SOURCE = Path(__file__).parent / "pause.c"


def archives() -> dict[str, Path]:
    """Image reference → archive, made when missing."""
    return {
        PAUSE_IMAGE: _cached("pause", PAUSE_SOURCE, _pause),
        BUSYBOX_IMAGE: _cached("busybox", BUSYBOX, _busybox),
    }


def _cached(name: str, source: Path, make: Callable[[], bytes]) -> Path:
    key = hashlib.sha256(source.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    file = cache_dir() / "images" / f"{name}-{key}.tar"
    with locked(file.with_suffix(".lock")):  # clusters that start at the same time want the same
        if not file.exists():
            unfinished = file.with_suffix(".unfinished")
            unfinished.write_bytes(make())
            unfinished.rename(file)
    return file


def _pause() -> bytes:
    with TemporaryDirectory() as folder:
        program = Path(folder) / "pause"
        command = ["gcc", "-Os", "-static", "-s", "-o", str(program), str(PAUSE_SOURCE)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return image_archive(PAUSE_IMAGE, {"pause": File(program.read_bytes(), 0o755)}, entrypoint=["/pause"])


def _busybox() -> bytes:
    applets = subprocess.run([BUSYBOX, "--list"], text=True, capture_output=True, check=True).stdout.split()
    return image_archive(
        BUSYBOX_IMAGE,
        {
            "bin/busybox": File(BUSYBOX.read_bytes(), 0o755),
            "etc/passwd": File(b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
            "etc/group": File(b"root:x:0:\nnobody:x:65534:\n"),
        },
        entrypoint=["/bin/sh"],
        directories={"bin": 0o755, "etc": 0o755, "tmp": 0o1777},
        links={f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"},
    )
