"""vLLM for CPUs in an environment of its own, in the cache: `python -m dev.vllm` prints its interpreter.

vLLM pins other versions of torch and transformers than the project has. Everything is pinned in
constraints-vllm.txt, and torch is made small by the script that makes it small in images, which needs gcc and
binutils. The project itself is imported from this checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "constraints-vllm.txt"
OTHERS = ROOT / "constraints.txt"
TESTING = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout", "reasoning-gym")
"""What tests and benchmarks need besides, as far as the project pins it."""
SMALL = ROOT / "images" / "runtime" / "cpu_only_torch.py"
TOOLS = ("gcc", "strip", "readelf")


def environment() -> Path:
    """The folder of the environment, made if it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    made_from = b"".join(path.read_bytes() for path in (PINNED, OTHERS, SMALL))
    digest = hashlib.sha256(made_from).hexdigest()[:16]
    folder = cache / "controllable-inference" / "vllm" / digest
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            _make(folder)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "lib" / python / "site-packages" / "controllable.pth").write_text(f"{ROOT / 'framework'}\n")
    return folder


def variables(folder: Path) -> dict[str, str]:
    """What a process of this environment is started with."""
    return {
        **os.environ,
        "LD_PRELOAD": str(folder / "lib" / "libiomp5.so"),
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "HF_HUB_OFFLINE": "1",
    }


def _make(folder: Path) -> None:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        sys.exit(f"{', '.join(missing)}: not found; `apt-get install gcc binutils` brings it")
    print("installing vLLM for CPUs: 700 MB to fetch, 2 GB on disk, some minutes", file=sys.stderr)
    shutil.rmtree(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    # Copies: torch is changed in place, and must stay as it is in the cache of packages.
    subprocess.run([*install, "--link-mode", "copy", "--no-deps", "--requirement", PINNED], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(_pins()))
        file.flush()
        subprocess.run([*install, "--constraint", file.name, *TESTING], check=True)
    (torch,) = folder.glob("lib/python*/site-packages/torch")
    subprocess.run([python, SMALL, torch], check=True, stdout=subprocess.DEVNULL)
    (folder / ".complete").touch()


def _pins() -> list[str]:
    """vLLM's, and the project's for all else."""
    pinned = {line.split("==")[0]: line for path in (OTHERS, PINNED) for line in _lines(path)}
    return list(pinned.values())


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if "==" in line and not line.startswith("#")]


def main() -> None:
    """Print the interpreter; with arguments, run it on them."""
    folder = environment()
    python = str(folder / "bin" / "python")
    if len(sys.argv) == 1:
        print(python)
    else:
        os.execve(python, [python, *sys.argv[1:]], variables(folder))


if __name__ == "__main__":
    main()
