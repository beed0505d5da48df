"""`controllable-inference serve`: what the operator does in a cluster, on one machine without one.

The same manifest, the same engine.json, the same tritonserver and frontend; restarts Triton when the canary
says that the model is dead, as the kubelet would.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from controllable_inference.fetch import ADAPTER, Progress, fetch, is_downloaded
from controllable_inference.serving import config, termination
from controllable_inference.serving.errors import ServerFailed
from controllable_inference.serving.manifest import Manifest, read_manifest
from controllable_inference.serving.processes import Child
from controllable_inference.serving.triton import (
    Ports,
    check_numpy,
    ensure_triton,
    model_repository,
    triton_command,
    triton_environment,
)

POLL = 1.0
FAILURES = 2
"""Seconds between two looks at the health, and how many bad ones in a row mean a restart."""
MUTE = 10.0
"""Seconds that a Triton which has loaded its model may take to answer for the first time."""
STARTS = 3
"""How often Triton may fail to come up before serving is given up."""


def serve(
    manifest: Path, host: str, port: int, progress: Progress, stop: threading.Event | None = None
) -> None:
    """Serve a ControllableModel manifest until SIGINT or SIGTERM (or `stop`); nothing is left behind."""
    stop = stop or threading.Event()
    wanted = read_manifest(manifest)
    _refuse_used_port(host, port)
    check_numpy()
    home = ensure_triton(progress)
    with tempfile.TemporaryDirectory(prefix="controllable-") as scratch:
        folder = Path(scratch)
        # Ctrl-C ends a download at once; the next run goes on with it.
        settings = _fetched(wanted, folder, progress)
        with _stopped_by_signals(stop):
            LocalServer(settings, home, host, port, folder, progress).run(stop)


def _fetched(wanted: Manifest, folder: Path, progress: Progress) -> config.EngineConfig:
    """Bring the weights of the model and of its adapters; `folder` is for what is only linked to."""
    model = _destination(wanted.uri, wanted.revision, folder / "model")
    fetch(wanted.uri, model, wanted.revision, wanted.digest, progress=progress)
    adapters = {}
    for adapter in wanted.adapters:
        if adapter.uri is not None:
            to = _destination(adapter.uri, adapter.revision, folder / "adapters" / adapter.name)
            fetch(adapter.uri, to, adapter.revision, adapter.digest, kind=ADAPTER, progress=progress)
            adapters[adapter.name] = to
    return wanted.engine_config(model, adapters)


def _destination(uri: str, revision: str | None, linked: Path) -> Path:
    """Downloads are kept between runs; links aren't worth it."""
    if not is_downloaded(uri):
        return linked
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "controllable-inference" / "models"
    )
    slug = uri.removeprefix("hf://").replace("://", "--").strip("/").replace("/", "--")
    return cache / (f"{slug}@{revision}" if revision else slug)


class LocalServer:
    """One tritonserver and one frontend, kept going."""

    def __init__(
        self,
        settings: config.EngineConfig,
        home: Path,
        host: str,
        port: int,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._home = home
        self._host = host
        self._port = port
        self._folder = folder
        self._progress = progress
        self._ports = Ports(*free_ports(3))
        self._shared_memory = f"controllable_{os.getpid()}_"
        self._drain = settings.serving.drain_timeout_seconds
        self._config = folder / "engine.json"
        self._config.write_text(json.dumps(settings.to_json(), indent=2))
        self._termination_log = folder / "termination.json"
        self._triton: Child | None = None
        self._frontend: Child | None = None

    @property
    def _reached(self) -> str:
        return "127.0.0.1" if self._host == "0.0.0.0" else self._host  # noqa: S104

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://{self._reached}:{self._port}"

    def run(self, stop: threading.Event) -> None:
        """Start, watch, restart; returns after `stop`, raises ServerFailed when it can't go on."""
        try:
            self._frontend = self._start_frontend()
            self._bring_up(stop)
            while not stop.wait(POLL):
                self._look_after(stop)
        finally:
            self._shut_down()

    def _bring_up(self, stop: threading.Event) -> None:
        for attempt in range(1, STARTS + 1):
            started = time.monotonic()
            self._progress("starting Triton; it loads the model")
            self._triton = self._start_triton()
            if self._wait_until_ready(stop):
                seconds = time.monotonic() - started
                self._progress(f"ready after {seconds:.1f} s: {self.url}/v1 (Ctrl-C stops it)")
                return
            if stop.is_set():
                return
            reason = self._why()
            self._stop_triton(patience=3.0)
            if attempt == STARTS or reason.startswith("ModelLoadFailed"):
                raise ServerFailed(f"Triton did not come up: {reason}")
            last_line = reason.rpartition("\n")[2]
            self._progress(f"Triton did not come up ({last_line}); trying again")

    def _wait_until_ready(self, stop: threading.Event) -> bool:
        """Ready, or not any more to be expected; loading may take as long as the weights are big."""
        dead_since = None
        while not stop.is_set():
            if not self._alive(self._frontend):
                raise ServerFailed(f"the frontend stopped: {self._frontend and self._frontend.last_words()}")
            # Triton listens once it has loaded; until then the frontend may still tell of its predecessor.
            if self._triton_listens() and self._status("ready") == 200:
                return True
            # For a moment after a restart the verdict may still be the one on its predecessor.
            dead_since = (dead_since or time.monotonic()) if self._status("live") == 503 else None
            if not self._alive(self._triton) or (dead_since and time.monotonic() - dead_since > MUTE):
                return False
            stop.wait(0.2)
        return False

    def _look_after(self, stop: threading.Event) -> None:
        if not self._alive(self._frontend):
            self._progress("the frontend stopped; starting another")
            self._frontend = self._start_frontend()
        bad = 0
        while self._alive(self._triton) and bad < FAILURES:
            if self._status("live") != 503:
                return
            bad += 1
            stop.wait(POLL)
        if not stop.is_set():
            self._progress("the model does not answer any more; restarting Triton")
            self._stop_triton(patience=3.0)
            self._bring_up(stop)

    def _status(self, what: str) -> int | None:
        return _asked(self._reached, self._port, f"/health/{what}", patience=6.0)

    def _triton_listens(self) -> bool:
        return _asked("127.0.0.1", self._ports.http, "/v2/health/ready", patience=2.0) == 200

    def _why(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            told = json.loads(self._termination_log.read_text())
            return f"{told['reason']}: {told['message']}"
        return self._triton.last_words() if self._triton is not None else "it never started"

    def _start_triton(self) -> Child:
        self._termination_log.write_text("")
        environ = triton_environment() | {
            config.ENV: str(self._config),
            termination.ENV: str(self._termination_log),
        }
        command = triton_command(
            self._home, model_repository(), self._ports, self._drain, self._shared_memory
        )
        return Child("triton", command, environ, self._folder / "triton.log")

    def _start_frontend(self) -> Child:
        ports = self._ports
        command = [
            sys.executable, "-m", "controllable_inference.cli", "frontend",
            "--host", self._host, "--port", str(self._port), "--http-port", str(ports.http),
            "--grpc-port", str(ports.grpc), "--metrics-port", str(ports.metrics),
        ]  # fmt: skip
        environ = os.environ | {config.ENV: str(self._config)}
        return Child("frontend", command, environ, self._folder / "frontend.log")

    def _stop_triton(self, patience: float) -> None:
        if self._triton is not None:
            self._triton.stop(patience)
            self._triton = None
        for region in Path("/dev/shm").glob(f"{self._shared_memory}*"):  # noqa: S108 - Triton's, not ours to place
            with contextlib.suppress(OSError):
                region.unlink()

    def _shut_down(self) -> None:
        # The frontend first: it lets open requests finish, and an open stream would keep Triton running.
        if self._frontend is not None:
            self._progress("stopping")
            self._frontend.stop(self._drain + 1.0)
        self._stop_triton(patience=10.0)

    @staticmethod
    def _alive(child: Child | None) -> bool:
        return child is not None and child.running


@contextlib.contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _asked(host: str, port: int, path: str, patience: float) -> int | None:
    """The status of what a server answers, None where it does not answer.

    Asked several times a second while a model loads: a client with TLS and pools would take the CPU for that.
    """
    connection = http.client.HTTPConnection(host, port, timeout=patience)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _refuse_used_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerFailed(
                f"port {port} of {host}: {error.strerror}", "choose another with --port"
            ) from error
