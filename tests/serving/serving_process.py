"""`controllable-inference serve` as a process, for tests."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import yaml
from controllable_inference.serving.local import free_ports


@dataclass
class Running:
    """A server that `serve` started."""

    url: str
    process: subprocess.Popen
    log: Path

    def child(self, name):
        """The process below it whose name begins like this."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if child.name().startswith(name))

    def stub(self):
        """Triton's model process."""
        return self.child("triton_python")

    def metric(self, name):
        """The value of one series on /metrics, 0 where it isn't there yet."""
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    def wait(self, what, status, seconds):
        """Wait until /health/`what` answers `status`; returns how long it took."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                if httpx.get(f"{self.url}/health/{what}", timeout=8).status_code == status:
                    return time.monotonic() - started
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError(
            f"/health/{what} is not {status} after {seconds} s; log:\n{self.log.read_text()}"
        )


def gone(processes, seconds):
    """Whether all of them end in time; one that nobody has waited for has ended, too."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


TINY = {
    "control": {"computeBudget": {"maxTokens": 100000}, "trace": "full"},
    "serving": {"maxConcurrentRequests": 4, "queue": {"size": 2}, "drainTimeout": "3s"},
}
"""What a manifest says of a model that never ends by itself."""


def start_server(folder, model, repository, adapters=(), spec=TINY, **environ):
    """Start `controllable-inference serve` on a manifest for `model`; returns at once."""
    (folder / "manifest.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "serving.controllable.dev/v1alpha1",
                "kind": "ControllableModel",
                "metadata": {"name": "tiny"},
                "spec": {"model": {"uri": str(model), "adapters": list(adapters)}, **spec},
            }
        )
    )
    (port,) = free_ports(1)
    log = folder / "serve.log"
    command = [sys.executable, "-m", "controllable_inference.cli", "serve", str(folder / "manifest.yaml")]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        env=os.environ
        | {"CONTROLLABLE_MODEL_REPOSITORY": str(repository), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        | environ,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
    )
    return Running(f"http://127.0.0.1:{port}", process, log)
