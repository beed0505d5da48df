"""`ask`: a question to a model, its thinking as it comes, its answer, and what that took."""

import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from controllable_operator.plugin.errors import ModelSilent
from controllable_operator.plugin.view import printable

Document = dict[str, Any]


@dataclass
class Answer:
    """What came back, put together."""

    thinking: str = ""
    text: str = ""
    finish_reason: str = ""
    usage: Document = field(default_factory=dict)
    control: Document = field(default_factory=dict)

    def to_json(self, model: str) -> Document:
        """The document of `-o json`."""
        return {
            "model": model,
            "answer": self.text,
            "thinking": self.thinking,
            "finishReason": self.finish_reason,
            "usage": self.usage,
            "controllable": self.control,
        }


def request(
    model: str,
    question: str,
    *,
    adapter: str | None = None,
    effort: str | None = None,
    max_paths: int | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
) -> Document:
    """The body of POST /v1/chat/completions. What is None is left to the model."""
    control = {"max_paths": max_paths, "max_tokens": max_tokens}
    given = {name: value for name, value in control.items() if value is not None}
    options = {"reasoning_effort": effort, "seed": seed, "controllable": given or None}
    return {
        "model": adapter or model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
    } | {name: value for name, value in options.items() if value is not None}


def send(connection: http.client.HTTPConnection, body: Document) -> Iterator[Document]:
    """Ask, and yield the chunks of the answer as they come.

    Raises:
        ModelSilent: the model refuses, or breaks off.
    """
    headers = {"Content-Type": "application/json", "Connection": "close"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise ModelSilent(_refusal(response.status, response.read()))
    yield from chunks(iter(response.readline, b""))


def chunks(lines: Iterable[bytes]) -> Iterator[Document]:
    """The documents of a stream of server-sent events, up to its end.

    Raises:
        ModelSilent: it tells of an error, or ends too early.
    """
    for line in lines:
        if not line.startswith(b"data: "):
            continue
        text = line[len(b"data: ") :].strip()
        if text == b"[DONE]":
            return
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ModelSilent(f"the model's answer makes no sense ({error}); ask again") from error
        if "error" in document:
            raise ModelSilent(f"the model broke off: {document['error'].get('message', '')}; ask again")
        yield document
    raise ModelSilent(
        "the model broke off in the middle of its answer; ask again, and see `status` and `events`"
    )


def show(stream: Iterable[Document], console: Console | None) -> Answer:
    """Put the answer together and, with a console, print it as it comes: the thinking dimmed."""
    answer = Answer()
    for chunk in stream:
        choice: Document = next(iter(chunk.get("choices") or []), {})
        delta = choice.get("delta") or {}
        thought, said = delta.get("reasoning_content") or "", delta.get("content") or ""
        if console:
            if said and answer.thinking and not answer.text:
                console.print("" if answer.thinking.endswith("\n") else "\n")
            console.print(Text(printable(thought), style="dim"), end="", soft_wrap=True)
            console.print(Text(printable(said), style="bold"), end="", soft_wrap=True)
        answer.thinking += thought
        answer.text += said
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        answer.usage = chunk.get("usage") or answer.usage
        told = chunk.get("controllable") or {}
        answer.control |= {key: value for key, value in told.items() if key != "trace"}
    if console:
        console.print()
    return answer


def account(answer: Answer, seconds: float) -> str:
    """What the answer took, in a line."""
    control, usage = answer.control, answer.usage
    parts = []
    if "paths_started" in control:
        started, pruned = control["paths_started"], control.get("paths_pruned", 0)
        parts.append(f"{started} {'path' if started == 1 else 'paths'} started, {pruned} pruned")
    parts.append(f"{usage.get('completion_tokens', 0)} tokens")
    if control.get("tokens_saved"):
        parts.append(f"about {control['tokens_saved']} saved")
    if "confidence" in control:
        parts.append(f"{control['confidence']:.0%} sure")
    parts.append(f"{control.get('seconds', seconds):.2f} s")
    cut = "; cut off at its token limit" if answer.finish_reason == "length" else ""
    return ", ".join(parts) + cut


def _refusal(status: int, content: bytes) -> str:
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = content.decode(errors="replace").strip()[:200]
    what = "ask again in a moment" if status in (429, 503, 504) else "change what it names"
    return f"the model refuses (HTTP {status}: {message}); {what}"
