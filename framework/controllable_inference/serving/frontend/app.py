"""The ASGI application: routes, and one request's way from JSON to JSON or to server-sent events."""

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from controllable_inference.serving.frontend import schema
from controllable_inference.serving.frontend.bodies import SSE_ALIVE, SSE_DONE, Gathered, Shape, sse
from controllable_inference.serving.frontend.errors import ApiError, handle_api_error, handle_unexpected
from controllable_inference.serving.frontend.health import Health
from controllable_inference.serving.frontend.http import Measured, broke_off, read_json, while_connected
from controllable_inference.serving.frontend.metrics import CONTENT_TYPE, FrontendMetrics
from controllable_inference.serving.frontend.settings import FrontendSettings
from controllable_inference.serving.frontend.streaming import ClosingStream
from controllable_inference.serving.frontend.triton_client import Question, Reply, TritonClient
from controllable_inference.serving.parameters import trace_within


class Frontend:
    """The handlers and what they share."""

    def __init__(self, settings: FrontendSettings, client: TritonClient, metrics: FrontendMetrics) -> None:
        self._settings = settings
        self._client = client
        self._health = Health(client, settings)
        self._metrics = metrics
        self._started = int(time.time())
        self._served = [settings.model, *(adapter.name for adapter in settings.adapters)]

    def routes(self) -> list[Route]:
        """All paths this server answers."""
        return [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/models/{model:path}", self.model),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
            Route("/health/frontend", self.alive),
            Route("/metrics", self.metrics),
        ]

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        body = schema.parse(schema.ChatRequest, await read_json(request, self._settings.body_limit))
        return await self._answer(request, body, chat=True)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        body = schema.parse(schema.CompletionRequest, await read_json(request, self._settings.body_limit))
        return await self._answer(request, body, chat=False)

    async def models(self, _: Request) -> Response:
        """GET /v1/models."""
        return JSONResponse({"object": "list", "data": self._model_objects()})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{model}."""
        asked = request.path_params["model"]
        schema.check_model(asked, self._served)
        return JSONResponse(next(each for each in self._model_objects() if each["id"] == asked))

    async def live(self, _: Request) -> Response:
        """GET /health/live: 503 where a restart of Triton is what helps."""
        verdict = await self._health.verdict()
        return _status(verdict.live, verdict.reason)

    async def ready(self, _: Request) -> Response:
        """GET /health/ready: 200 where the model answers."""
        verdict = await self._health.verdict()
        return _status(verdict.ready, verdict.reason)

    async def alive(self, _: Request) -> Response:
        """GET /health/frontend: this process alone."""
        return _status(True, "the frontend answers")

    async def metrics(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(await self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def _answer(self, request: Request, body: schema.AnyRequest, chat: bool) -> Response:
        schema.check_model(body.model, self._served)
        control = schema.control(body)
        shape = Shape(
            chat=chat,
            id=("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex,
            model=body.model,
            created=int(time.time()),
            trace=trace_within(control.get("trace"), self._settings.trace),
        )
        adapter = None if body.model == self._settings.model else body.model
        question = Question(
            body.question(), schema.sampling(body), control, bool(body.stream), adapter, shape.id
        )
        replies = self._client.ask(question)
        if not body.stream:
            gathered = await while_connected(request, _gather(replies))
            return JSONResponse(shape.whole(gathered))
        # The first reply is awaited before the status goes out, so that a refusal can still be one.
        first = await while_connected(request, anext(replies, None))
        if first is None:
            raise _cut_off()
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return ClosingStream(
            _chunks(first, replies, shape, include_usage, partial(broke_off, request)),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    def _model_objects(self) -> list[dict[str, object]]:
        """The model, then its adapters with it as their `parent`, as vLLM lists LoRA."""
        common = {"object": "model", "created": self._started, "owned_by": "controllable-inference"}
        base = self._settings.model
        return [{"id": base, **common, "parent": None}] + [
            {
                "id": adapter.name,
                **common,
                "parent": base,
                "controllable": {"domain": adapter.domain, "budget_scale": float(adapter.budget_scale)},
            }
            for adapter in self._settings.adapters
        ]


async def _gather(replies: AsyncGenerator[Reply, None]) -> Gathered:
    gathered = Gathered()
    async for reply in replies:
        gathered.add(reply)
    if gathered.finish_reason is None:
        raise _cut_off()
    return gathered


def _cut_off() -> ApiError:
    return ApiError(502, "the model's answer was cut off", code="model_failed")


async def _chunks(
    first: Reply,
    replies: AsyncGenerator[Reply, None],
    shape: Shape,
    include_usage: bool,
    failed: Callable[[int], None],
) -> AsyncIterator[bytes]:
    try:
        async with aclosing(_chained(first, replies)) as all_replies:
            if (opening := shape.first()) is not None:
                yield sse(opening)
            async for reply in all_replies:
                if (chunk := shape.chunk(reply)) is not None:
                    yield sse(chunk)
                if reply.is_heartbeat:
                    yield SSE_ALIVE
                if reply.finish_reason is not None:
                    yield sse(shape.last(reply))
                    if include_usage:
                        yield sse(shape.usage_chunk(reply))
                    yield SSE_DONE
                    return
        raise _cut_off()
    except ApiError as error:
        failed(error.status)
        yield sse(error.body())


async def _chained(first: Reply, replies: AsyncGenerator[Reply, None]) -> AsyncGenerator[Reply, None]:
    try:
        yield first
        async for reply in replies:
            yield reply
    finally:
        await replies.aclose()


def _status(good: bool, reason: str) -> Response:
    return JSONResponse({"status": "ok" if good else "unavailable", "reason": reason}, 200 if good else 503)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(error.status_code, error.detail).response()


async def _client_left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; it keeps the departure out of the error log


def create_app(settings: FrontendSettings) -> Starlette:
    """Build the application; it connects to Triton when it starts."""
    client = TritonClient(f"127.0.0.1:{settings.triton.grpc}", settings.silence)
    metrics = FrontendMetrics(f"http://127.0.0.1:{settings.triton.metrics}/metrics")
    frontend = Frontend(settings, client, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    return Starlette(
        routes=frontend.routes(),
        middleware=[Middleware(Measured, metrics=metrics)],
        exception_handlers={
            ApiError: handle_api_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_left,
            Exception: handle_unexpected,
        },
        lifespan=lifespan,
    )
