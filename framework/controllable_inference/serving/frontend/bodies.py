"""Answers in the shape of OpenAI's API, with the `controllable` extension. Pure."""

import json
from dataclasses import dataclass, field
from typing import Any

from controllable_inference.serving.frontend.triton_client import Reply

_EXTENSION = (
    "coefficient", "limited_by", "paths_started", "paths_pruned", "paths_stopped", "paths_finished",
    "paths_closed",
    "tokens_saved", "confidence", "queue_seconds", "time_to_first_token_seconds", "seconds",
)  # fmt: skip


@dataclass
class Shape:
    """How one request's answer is written: as chat or as a completion, whole or as chunks."""

    chat: bool
    id: str
    model: str
    created: int
    trace: str

    def whole(self, replies: "Gathered") -> dict[str, Any]:
        """The answer to a request without streaming."""
        if self.chat:
            message = {"role": "assistant", "content": replies.text, "refusal": None}
            if replies.reasoning:
                message["reasoning_content"] = replies.reasoning
            part: dict[str, Any] = {"message": message}
        else:
            part = {"text": replies.text}
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": finish_reason(replies.finish_reason)}
        body = self._envelope("chat.completion" if self.chat else "text_completion", [choice])
        body["usage"] = usage(replies.usage)
        return body | self.extension(replies.usage, replies.events)

    def first(self) -> dict[str, Any] | None:
        """The chunk that opens a chat stream, None for a completion."""
        return self._chunk({"role": "assistant", "content": ""}) if self.chat else None

    def chunk(self, reply: Reply) -> dict[str, Any] | None:
        """What one reply adds to a stream; None where it adds nothing."""
        events = {"controllable": {"trace": reply.events}} if reply.events else {}
        if self.chat:
            delta = {
                name: text
                for name, text in (("reasoning_content", reply.reasoning), ("content", reply.text))
                if text
            }
            return self._chunk(delta) | events if delta or events else None
        return self._chunk({"text": reply.text}) | events if reply.text or events else None

    def last(self, reply: Reply) -> dict[str, Any]:
        """The chunk with the finish reason, and what the request took."""
        reason = finish_reason(reply.finish_reason)
        return self._chunk({} if self.chat else {"text": ""}, reason) | self.extension(reply.usage, [])

    def usage_chunk(self, reply: Reply) -> dict[str, Any]:
        """The extra chunk that `stream_options.include_usage` asks for."""
        body = self._envelope("chat.completion.chunk" if self.chat else "text_completion", [])
        return body | {"usage": usage(reply.usage)}

    def extension(self, numbers: dict[str, Any] | None, events: list[dict[str, Any]]) -> dict[str, Any]:
        """The `controllable` object of an answer, unless the client wants no trace at all."""
        if self.trace == "none" or numbers is None:
            return {}
        told = {name: numbers[name] for name in _EXTENSION if name in numbers}
        return {"controllable": told | ({"trace": events} if events else {})}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        part = {"delta": delta} if self.chat else delta
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": reason}
        return self._envelope("chat.completion.chunk" if self.chat else "text_completion", [choice])

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


@dataclass
class Gathered:
    """All replies of one request, put together."""

    text: str = ""
    reasoning: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None

    def add(self, reply: Reply) -> None:
        """Append one reply."""
        self.text += reply.text
        self.reasoning += reply.reasoning
        self.events += reply.events
        self.finish_reason = reply.finish_reason or self.finish_reason
        self.usage = reply.usage or self.usage


def usage(numbers: dict[str, Any] | None) -> dict[str, Any]:
    """OpenAI's usage object from the engine's."""
    numbers = numbers or {}
    prompt, completion = numbers.get("prompt_tokens", 0), numbers.get("completion_tokens", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "completion_tokens_details": {"reasoning_tokens": numbers.get("reasoning_tokens", 0)},
    }


def finish_reason(reason: str | None) -> str:
    """OpenAI's word for why an answer ended."""
    return reason if reason in ("stop", "length") else "stop"


def sse(body: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


SSE_DONE = b"data: [DONE]\n\n"
SSE_ALIVE = b": alive\n\n"  # a comment: keeps proxies from closing a thoughtful stream
