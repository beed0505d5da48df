"""tritonserver on this machine: where it is, how it is installed, how it is started.

The server comes out of the PyPI package nvidia-pytriton, which carries a whole tritonserver; only its
files are used. In an image `CONTROLLABLE_TRITON_HOME` names a folder with `bin/tritonserver` and `backends/`.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from controllable_inference.resources import resource
from controllable_inference.serving.errors import TritonNotFound, UnsupportedRuntime

PACKAGE = "nvidia-pytriton"
VERSION = "0.7.0"  # carries tritonserver 2.51
HOME_ENV = "CONTROLLABLE_TRITON_HOME"
REPOSITORY_ENV = "CONTROLLABLE_MODEL_REPOSITORY"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Ports:
    """Triton's own ports, all on loopback: any HTTP client can crash 2.51, so none may reach it."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


def find_triton(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that holds bin/tritonserver: from the environment, else from the cache."""
    if home := environ.get(HOME_ENV):
        if not is_triton(Path(home)):
            raise TritonNotFound(f"{HOME_ENV}={home}: holds no bin/tritonserver", "unset or correct it")
        return Path(home)
    home_in_cache = triton_home(cache_folder(environ))
    return home_in_cache if is_triton(home_in_cache) else None


def is_triton(home: Path) -> bool:
    """Whether `home` looks like an unpacked tritonserver."""
    return (home / "bin" / "tritonserver").is_file() and (home / "backends").is_dir()


def triton_home(unpacked: Path) -> Path:
    """Where tritonserver lies in an unpacked nvidia-pytriton; its RPATH needs this layout kept."""
    return unpacked / "pytriton" / "tritonserver"


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this version is kept between runs, following the XDG base directory specification."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/tmp")) / ".cache")  # noqa: S108
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return cache / "controllable-inference" / f"triton-{PACKAGE}-{VERSION}-{python}"


def ensure_triton(progress: Progress = print) -> Path:
    """Find tritonserver, or install it into the cache."""
    return find_triton() or install_triton(cache_folder(), progress)


def install_triton(folder: Path, progress: Progress = print) -> Path:
    """Unpack the pinned tritonserver into `folder` and return its home; atomic, so safe to interrupt."""
    home = triton_home(folder)
    if is_triton(home):
        return home
    progress(f"installing tritonserver ({PACKAGE} {VERSION}) into {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".triton-") as scratch:
        unpacked = Path(scratch) / "unpacked"
        _pip_unpack(unpacked)
        backend = triton_home(unpacked) / "backends" / "python"
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = triton_home(unpacked) / "python_backend_stubs" / python / "triton_python_backend_stub"
        if not stub.is_file():
            raise TritonNotFound(
                f"{PACKAGE} {VERSION} has no stub for Python {python}", "use Python 3.11 or 3.12"
            )
        shutil.copy(stub, backend)
        for program in (backend / stub.name, triton_home(unpacked) / "bin" / "tritonserver"):
            program.chmod(0o755)
        shutil.rmtree(triton_home(unpacked) / "python_backend_stubs")
        if folder.exists():  # an empty folder made beforehand, or the rest of an older attempt
            shutil.rmtree(folder)
        unpacked.rename(folder)
        folder.chmod(0o755)
    return home


def _pip_unpack(target: Path) -> None:
    """`pip install --no-deps --target`, by whichever installer this environment has."""
    wanted = ["--quiet", "--no-deps", "--target", str(target), f"{PACKAGE}=={VERSION}"]
    installers = (
        [sys.executable, "-m", "pip", "install"],
        ["uv", "pip", "install", "--python", sys.executable],
        ["python3", "-m", "pip", "install"],
    )
    failures = []
    for installer in installers:
        try:
            done = subprocess.run([*installer, *wanted], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return
        failures.append((done.stderr or done.stdout).strip().splitlines()[-1:])
    detail = "; ".join(line for lines in failures for line in lines)
    raise TritonNotFound(
        f"can't install {PACKAGE} {VERSION}: {detail or 'neither pip nor uv is here'}",
        f"install it where PyPI is reachable, or set {HOME_ENV}",
    )


def triton_command(
    home: Path, repository: Path, ports: Ports, exit_timeout: float, shared_memory: str = "controllable_"
) -> list[str]:
    """tritonserver's argument list.

    Without auto-completion the model process starts once, not twice (2–5 s instead of 12).
    `exit_timeout` (seconds) is how long in-flight requests may finish after SIGTERM; `shared_memory` is how
    the names of its regions in /dev/shm start, which a server that was killed leaves behind.
    """
    return [
        str(home / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={home / 'backends'}",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        f"--exit-timeout-secs={max(1, round(exit_timeout))}",
        "--http-address=127.0.0.1",
        f"--http-port={ports.http}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports.grpc}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports.metrics}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory}",
    ]


def triton_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which Triton's stub finds this very Python, and computes with threads that fit.

    The stub ignores PYTHONHOME and PYTHONPATH: it takes the first `python3` on PATH (a venv is honoured)
    and loads libpython by LD_LIBRARY_PATH.
    """
    # Here, as the image's build unpacks tritonserver with nothing but this file's own imports.
    from controllable_inference.serving.threads import thread_environment

    library = sysconfig.get_config_var("LIBDIR") or ""
    return {
        **environ,
        **thread_environment(environ),
        "PATH": _joined(str(Path(sys.executable).parent), environ.get("PATH", "")),
        "LD_LIBRARY_PATH": _joined(library, environ.get("LD_LIBRARY_PATH", "")),
    }


def _joined(*folders: str) -> str:
    return os.pathsep.join(folder for folder in folders if folder)


def check_numpy() -> None:
    """Refuse numpy 2, which Triton's old pybind11 corrupts in silence (python_backend pull request 384)."""
    import numpy

    if int(numpy.__version__.split(".")[0]) >= 2:
        raise UnsupportedRuntime(
            f"numpy {numpy.__version__} in {sys.prefix}: Triton's Python backend corrupts its arrays",
            "install 'numpy<2' in that environment",
        )


def model_repository(environ: Mapping[str, str] = os.environ) -> Path:
    """The model repository that Triton serves: from the environment, else the shipped one."""
    if given := environ.get(REPOSITORY_ENV):
        return Path(given)
    shipped = resource("model_repository")
    if shipped is None:
        raise TritonNotFound("the model repository is missing from this installation", "reinstall it")
    return shipped


def exec_triton(ports: Ports, exit_timeout: float, progress: Progress = print) -> None:
    """Become tritonserver (PID 1 in a container, so that signals reach it); does not return."""
    check_numpy()
    home = ensure_triton(progress)
    command = triton_command(home, model_repository(), ports, exit_timeout)
    os.execve(command[0], command, triton_environment())  # noqa: S606 - an argument list, no shell
