"""`controllable-inference serve` as a process, for tests."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import yaml
from controllable_inference.serving.local import free_ports

PATIENCE = 120.0
"""Seconds that something may take on a loaded machine, where the test is not about how long it takes."""


@dataclass
class Running:
    """A server that `serve` started. http: the one client of it, as making one takes longer than asking."""

    url: str
    process: subprocess.Popen
    log: Path
    http: httpx.Client

    def family(self):
        """All its processes."""
        serve = psutil.Process(self.process.pid)
        return [serve, *serve.children(recursive=True)]

    def child(self, name):
        """The process below it whose name begins like this."""
        return next(child for child in self.family()[1:] if child.name().startswith(name))

    def stub(self):
        """Triton's model process."""
        return self.child("triton_python")

    def post(self, document, path="/v1/chat/completions"):
        """The answer to a request."""
        return self.http.post(path, json=document)

    def metrics(self):
        """What /metrics tells, with Triton's part: if Triton is slow, the frontend tells of itself alone."""
        until = time.monotonic() + PATIENCE
        while "\nnv_" not in (told := self.http.get("/metrics").text):
            assert time.monotonic() < until, f"Triton's part is missing:\n{told}"
            time.sleep(0.05)
        return told

    def metric(self, name):
        """The value of one series on /metrics, 0 where it isn't there yet."""
        for line in self.metrics().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    def status(self, what):
        """What /health/`what` answers, None where nobody does."""
        try:
            return self.http.get(f"/health/{what}").status_code
        except httpx.HTTPError:
            return None

    def wait(self, what, status):
        """Wait until /health/`what` answers `status`; returns how long it took."""
        started = time.monotonic()
        while self.status(what) != status:
            log = self.log.read_text()
            assert self.process.poll() is None, f"it has ended; log:\n{log}"
            assert time.monotonic() - started < PATIENCE, f"/health/{what} is not {status}; log:\n{log}"
            time.sleep(0.1)
        return time.monotonic() - started

    @contextmanager
    def unattended(self):
        """Within, `serve` is stopped: it restarts nothing, so what it would act on stays to be looked at."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self):
        """End it, however it is."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()


def eventually(holds, seconds=PATIENCE):
    """How long it takes until `holds()`; fails after `seconds`."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, f"it has not come within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - started


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
    url = f"http://127.0.0.1:{port}"
    return Running(url, process, log, httpx.Client(base_url=url, timeout=60))
