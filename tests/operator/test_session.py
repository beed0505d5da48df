"""kopf's way to the API server, against a small HTTP server that takes one token and no other."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web
from controllable_operator.client import Client
from controllable_operator.errors import ApiError
from controllable_operator.session import session
from kubernetes.client import ApiClient, Configuration


class Server:
    """Takes `token`, and counts who was sent away."""

    def __init__(self) -> None:
        self.token, self.refused = "today", 0

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == f"Bearer {self.token}":
            return web.json_response({})
        self.refused += 1
        return web.Response(status=401)


@pytest.fixture
def configuration() -> Configuration:
    found = Configuration()
    found.api_key["BearerToken"] = "Bearer today"
    return found


@pytest.fixture
async def server() -> Server:
    return Server()


Ask = Callable[[], Awaitable[int]]


@pytest.fixture
async def ask(
    server: Server, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ask]:
    """A request of a kopf that logged in with a token of yesterday; returns the status of the answer."""
    monkeypatch.setattr("controllable_operator.session._RETRY_SECONDS", 0.05)
    app = web.Application()
    app.router.add_get("/", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    info = kopf.ConnectionInfo(server=f"http://127.0.0.1:{runner.addresses[0][1]}", token="yesterday")
    async with session(info, Client(ApiClient(configuration)), aiohttp.TraceConfig()) as ours:

        async def status() -> int:
            async with ours.get(info.server) as response:
                return response.status

        yield status
    await runner.cleanup()


async def test_every_request_has_the_token_of_that_moment(
    ask: Ask, server: Server, configuration: Configuration
) -> None:
    assert await ask() == 200
    server.token, configuration.api_key["BearerToken"] = "tomorrow", "Bearer tomorrow"
    assert await ask() == 200
    assert server.refused == 0


async def test_a_token_that_is_not_taken_is_waited_for(
    ask: Ask, server: Server, configuration: Configuration
) -> None:
    server.token = "tomorrow"
    asking = asyncio.create_task(ask())
    await asyncio.sleep(0.2)
    assert not asking.done()
    assert server.refused > 1
    configuration.api_key["BearerToken"] = "Bearer tomorrow"
    assert await asyncio.wait_for(asking, 5) == 200


async def test_a_token_that_cannot_be_read_is_a_failure_that_kopf_tries_again(
    ask: Ask, configuration: Configuration
) -> None:
    def fails(_: Configuration) -> None:
        raise OSError("no such file")

    configuration.refresh_api_key_hook = fails
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask()
    with pytest.raises(ApiError, match="no such file"):
        Client(ApiClient(configuration)).served("v1")


async def test_no_end_of_a_connection_looks_to_kopf_like_that_of_the_session(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise aiohttp.ClientOSError(1, "[SSL: APPLICATION_DATA_AFTER_CLOSE_NOTIFY]") from ssl.SSLError()

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", fails)
    with pytest.raises(aiohttp.ClientConnectionError) as caught:
        await ask()
    assert "SSL" not in str(caught.value)
