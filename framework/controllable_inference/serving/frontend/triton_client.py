"""The frontend's way to Triton: one gRPC stream a request, closed after its last response."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from controllable_inference.serving.frontend.errors import ApiError, from_triton
from controllable_inference.serving.triton_request import HEARTBEAT_PARAMETER, PROBE_PARAMETER

MODEL = "controllable"
HEARTBEAT_MS = 2000
"""How often the model is to say that a request is alive: silence is then a fault and needs no patience."""
LAST_WORD_SECONDS = 1.0
"""How long a stream is waited for to end, once its last reply is there."""
CHANNEL = [
    # Triton listens only once its model is loaded. By itself gRPC tries again ever more rarely, up to two
    # minutes apart, and for so long a model that has been ready for requests would be taken for loading.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Given any of these, tritonclient sets none itself; messages are as long as Triton makes them.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


@dataclass(frozen=True)
class Question:
    """One request for the engine, validated.

    stream: replies as the answer grows, or only at its end. probe: see `TritonRequest`.
    """

    prompt: str | list[dict[str, Any]]
    sampling: dict[str, Any]
    control: dict[str, Any]
    stream: bool
    adapter: str | None = None
    request_id: str = ""
    probe: bool = False


@dataclass(frozen=True)
class Reply:
    """One response of Triton's model. The last one of a request has `finish_reason` and `usage`."""

    text: str = ""
    reasoning: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None

    @property
    def is_heartbeat(self) -> bool:
        """Whether this says no more than that the stream is alive."""
        return not (self.text or self.reasoning or self.events or self.finish_reason)


class TritonClient:
    """Asks Triton. `silence`: seconds without a response after which a request is given up."""

    def __init__(self, url: str, silence: float) -> None:
        self._url = url
        self._silence = silence
        self.last_progress = -float("inf")
        """When any request last had a reply, be it a sign of life, on time.monotonic's clock."""

    async def __aenter__(self) -> "TritonClient":
        # Not before: gRPC's channels belong to the event loop that they are made in.
        self._client = triton.InferenceServerClient(self._url, channel_args=CHANNEL)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def is_loading(self) -> bool:
        """Whether Triton isn't there (it listens once the model is loaded) or says the model isn't ready."""
        try:
            return not await self._client.is_model_ready(MODEL, client_timeout=1.0)
        except (InferenceServerException, grpc.RpcError) as error:
            return "UNAVAILABLE" in str(error)

    async def ask(self, question: Question) -> AsyncGenerator[Reply, None]:
        """Send a question and yield the replies; leaving early cancels it. Raises ApiError."""
        # With this header an error ends the stream with a gRPC status, so its code is not lost.
        replies = self._client.stream_infer(_once(_inputs(question)), headers={"triton_grpc_error": "true"})
        answered = False
        try:
            while True:
                try:
                    result, error = await asyncio.wait_for(anext(replies), self._silence)
                except StopAsyncIteration:
                    return
                if error is not None:
                    raise from_triton("INTERNAL", error.message())
                self.last_progress = time.monotonic()
                reply = _reply(result)
                answered = reply.finish_reason is not None
                yield reply
        except TimeoutError:
            message = f"the model has been silent for {self._silence:g} s"
            raise ApiError(504, message, code="timeout") from None
        except grpc.aio.AioRpcError as error:
            raise from_triton(error.code().name, error.details() or "") from error
        finally:
            # Triton 2.51 never frees a stream that is cancelled just as it ends, and can no longer unload the
            # model then. Readers leave at the last reply, when the end of the stream is on its way.
            with contextlib.suppress(Exception):
                if answered:
                    await asyncio.wait_for(_read_to_the_end(replies), LAST_WORD_SECONDS)
            with contextlib.suppress(Exception):
                replies.cancel()


async def _read_to_the_end(replies: AsyncIterator[Any]) -> None:
    async for _ in replies:
        pass


async def _once(inputs: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield inputs


def _inputs(question: Question) -> dict[str, Any]:
    texts = {"sampling_parameters": json.dumps(question.sampling), "control": json.dumps(question.control)}
    if question.adapter is not None:
        texts["adapter"] = question.adapter
    if isinstance(question.prompt, str):
        texts["text_input"] = question.prompt
    else:
        texts["messages"] = json.dumps(question.prompt)
    inputs = [
        _tensor(name, "BYTES", np.array([text.encode()], dtype=np.object_)) for name, text in texts.items()
    ]
    inputs.append(_tensor("stream", "BOOL", np.array([question.stream])))
    return {
        "model_name": MODEL,
        "inputs": inputs,
        "request_id": question.request_id,
        "parameters": {HEARTBEAT_PARAMETER: HEARTBEAT_MS, PROBE_PARAMETER: question.probe},
    }


def _tensor(name: str, kind: str, values: Any) -> Any:
    tensor = triton.InferInput(name, [len(values)], kind)
    tensor.set_data_from_numpy(values)
    return tensor


def _reply(result: Any) -> Reply:
    def texts(name: str) -> list[str]:
        values = result.as_numpy(name)
        return [] if values is None else [value.decode() for value in values.reshape(-1)]

    usage = "".join(texts("usage"))
    return Reply(
        text="".join(texts("text_output")),
        reasoning="".join(texts("reasoning_output")),
        events=[json.loads(event) for event in texts("event")],
        finish_reason="".join(texts("finish_reason")) or None,
        usage=json.loads(usage) if usage else None,
    )
