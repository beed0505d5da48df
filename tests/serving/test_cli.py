"""The command line: quick to help, one clear line when something is wrong."""

import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from controllable_inference.serving.ask import AskFailed, ask
from rich.console import Console

COMMAND = [sys.executable, "-m", "controllable_inference.cli"]


def run(*arguments, **environ):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_help_teaches_by_example_and_loads_no_model_library():
    started = time.monotonic()
    done = run("--help")
    assert done.returncode == 0
    assert "serve examples/nano.yaml" in done.stdout
    for command in ("serve", "ask", "fetch", "triton", "frontend", "eval", "train"):
        assert command in done.stdout
    print(f"--help took {time.monotonic() - started:.2f} s")
    script = "import sys, controllable_inference.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["ask", "why?", "--url", "http://127.0.0.1:9"], "nobody listens there"),
        (["ask", "why?", "--url", "http://[::1"], "http://[::1: "),
        (["ask", b"wh\xff?"], "question: must be Unicode text"),
        (["fetch", "image:///nowhere", "--to", "/tmp/never"], "there is no folder"),
        (["fetch", "image:///models/nano", "--to", "/proc/here/nano"], "/proc/here"),
        (["explain", "why?", "--model", "hf://org/repo"], "fetch hf://org/repo --to"),
        (["frontend"], "CONTROLLABLE_ENGINE_CONFIG is not set"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_status_1(arguments, words):
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


MODELS = b'{"data": [{"id": "nano"}]}'


@pytest.mark.parametrize(
    ("models", "stream"),
    [
        (b"<html>", b""),
        (b'{"data": []}', b""),
        (b"[]", b""),
        (MODELS, b"data: <html>"),
        (MODELS, b"data: 5"),
        (MODELS, b'data: {"choices": [{}]}'),
        (MODELS, b'data: {"choices": [{"delta": {"content": 5}}]}'),
        (MODELS, b'data: {"error": "what?"}'),
    ],
)
def test_a_server_that_speaks_otherwise_is_called_that(models, stream):
    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(models)

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(stream)

        def answer(self, body):
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(AskFailed, match=f"^{url}: what answers there"):
            ask(url, "why?", {}, Console(quiet=True))
        server.shutdown()
