"""Triton's liveness probe ends an engine on the frontend's word alone."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import create_server

import pytest
from controllable_inference.serving import liveness


@contextmanager
def frontend(status: int) -> Iterator[int]:
    """A frontend that answers with this status at /health/live; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/live" else 404)
            self.end_headers()
            self.wfile.write(b"its reason")

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "alive"), [(200, True), (503, False), (500, True), (404, True)])
def test_only_the_frontends_verdict_counts(status: int, alive: bool) -> None:
    with frontend(status) as port:
        assert liveness.verdict(port)[0] is alive


def test_a_frontend_that_is_away_says_nothing_about_the_engine() -> None:
    with create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    assert liveness.verdict(port)[0]


def test_nor_does_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE", 0.1)
    with create_server(("127.0.0.1", 0)) as deaf:
        assert liveness.verdict(deaf.getsockname()[1])[0]


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_command_tells_kubelet_and_says_why(status: int, code: int) -> None:
    with frontend(status) as port:
        command = [sys.executable, "-m", "controllable_inference.serving.liveness", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (code, "its reason")
