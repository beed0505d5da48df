"""A frontend that is told to stop loses no request."""

import asyncio
import signal
import socket
import threading
import time

import httpx
import pytest
import uvicorn
from cluster_fixtures import eventually
from controllable_inference.serving.frontend.server import LameDuckServer

LAME_DUCK = 1.5


async def application(scope, receive, send):
    """Answers at once; `/slow` in two parts, a second apart."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/slow":
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await asyncio.sleep(1 + LAME_DUCK)
    await send({"type": "http.response.body", "body": b"two"})


@pytest.fixture
def server():
    """A server that listens, and its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    config = uvicorn.Config(application, port=port, log_level="warning", lifespan="off")
    server = LameDuckServer(config, LAME_DUCK)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def refused(url):
    """Whether nobody listens there."""
    try:
        httpx.get(url)
    except httpx.ConnectError:
        return True
    return False


def terminate(server):
    server.handle_exit(signal.SIGTERM, None)


def test_it_goes_on_taking_requests_and_asks_to_close_every_connection(server):
    running, url = server
    with httpx.Client() as client:
        assert "connection" not in client.get(url).headers
        terminate(running)
        assert client.get(url).headers["connection"] == "close"
        assert client.get(url).headers["connection"] == "close"  # on another connection


def test_after_that_it_takes_none_and_lets_open_ones_finish(server):
    running, url = server
    with httpx.Client(timeout=60) as client, client.stream("GET", f"{url}/slow") as answer:
        terminate(running)
        parts = answer.iter_text()
        assert next(parts) == "one "
        eventually(lambda: refused(url), timeout=60)
        assert "".join(parts) == "two"


def test_a_second_signal_is_not_waited_for(server):
    running, _ = server
    terminate(running)
    assert not running.should_exit
    terminate(running)
    assert running.should_exit
