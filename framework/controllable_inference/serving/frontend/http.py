"""The small print of HTTP: limited bodies, clients that leave, one measurement a request."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controllable_inference.errors import RequestError
from controllable_inference.serving.client_json import decode_json
from controllable_inference.serving.frontend.errors import ApiError, invalid
from controllable_inference.serving.frontend.metrics import FrontendMetrics

T = TypeVar("T")


async def read_json(request: Request, limit: int) -> Any:
    """The decoded body; ApiError 413 beyond `limit` bytes, 400 where it isn't JSON or its text no text."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(413, f"the body is larger than {limit} bytes", code="request_too_large")
    try:
        return decode_json(body, "body")
    except RequestError as error:
        raise invalid(error.field.removeprefix("body."), error.message) from None


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, or cancel it and raise ClientDisconnect as soon as the client has left."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


_BROKEN = "controllable.broken"


def broke_off(request: Request, status: int) -> None:
    """Note that an answer failed after its first status had gone out: `status` is what counts."""
    request.scope[_BROKEN] = status


class Measured:
    """ASGI middleware: counts and times requests of the API; probes and scrapes would only drown them."""

    def __init__(self, app: ASGIApp, metrics: FrontendMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = scope.get("path", "")
        if scope["type"] != "http" or route not in ("/v1/chat/completions", "/v1/completions"):
            await self._app(scope, receive, send)
            return
        status = 499  # nginx's word for a client that left before the answer
        started = time.monotonic()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.open_requests.inc()
        try:
            await self._app(scope, receive, watch)
        finally:
            self._metrics.open_requests.dec()
            self._metrics.requests.labels(route, str(scope.get(_BROKEN, status))).inc()
            self._metrics.duration.labels(route).observe(time.monotonic() - started)
