"""`controllable-inference ask`: one question to a running server, its thinking and its account shown."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from rich.console import Console
from rich.table import Table

from controllable_inference.errors import RequestError
from controllable_inference.serving.errors import ServingError
from controllable_inference.unicode import fault_of


class AskFailed(ServingError):
    """The server refused the question, isn't there, or speaks otherwise."""


@dataclass
class Answered:
    """What came back."""

    content: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    control: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def ask(url: str, question: str, options: dict[str, Any], console: Console) -> Answered:
    """Ask, show the leading path's reasoning dimly while it comes, then the answer and a table."""
    if fault := fault_of(question):
        raise RequestError("question", fault)
    answered = Answered()
    started = time.monotonic()
    reasoned = False
    for chunk in _chunks(url.rstrip("/"), question, options):
        if chunk.reasoning:
            reasoned = True
            console.print(chunk.reasoning, style="dim", end="", markup=False, highlight=False)
        answered.content += chunk.content
        answered.usage = chunk.usage or answered.usage
        answered.control |= chunk.control
    answered.seconds = time.monotonic() - started
    if reasoned:
        console.print("\n")
    console.print(answered.content or "(no answer)", style="bold", markup=False)
    console.print(account(answered))
    return answered


def account(answered: Answered) -> Table:
    """What the answer took: coefficient, paths, tokens, time."""
    control, usage = answered.control, answered.usage
    used, saved = usage.get("completion_tokens", 0), control.get("tokens_saved", 0)
    share = f" ({saved / (used + saved):.0%} of what all paths would have taken)" if saved else ""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row(
        "coefficient", f"{control.get('coefficient', 0):.2f}, limited by {control.get('limited_by', '?')}"
    )
    table.add_row(
        "paths",
        f"{control.get('paths_started', 0)} started, {control.get('paths_pruned', 0)} pruned, "
        f"{control.get('paths_stopped', 0)} stopped, {control.get('paths_finished', 0)} finished",
    )
    table.add_row("tokens", f"{used} used, about {saved} saved{share}")
    table.add_row("confidence", f"{control.get('confidence', 0):.0%}")
    table.add_row("time", f"{answered.seconds:.2f} s")
    return table


class _Chunk(NamedTuple):
    """One event of the stream: what came, and what it took so far."""

    reasoning: str
    content: str
    usage: dict[str, Any]
    control: dict[str, Any]

    @classmethod
    def of(cls, chunk: dict[str, Any]) -> "_Chunk":
        delta = chunk["choices"][0]["delta"] if chunk.get("choices") else {}
        control = {k: v for k, v in chunk.get("controllable", {}).items() if k != "trace"}
        reasoning, content = ("".join(delta.get(name) or "") for name in ("reasoning_content", "content"))
        return cls(reasoning, content, chunk.get("usage") or {}, control)


def _chunks(url: str, question: str, options: dict[str, Any]) -> Iterator[_Chunk]:
    try:
        with httpx.Client(base_url=url, timeout=httpx.Timeout(10.0, read=60.0)) as client:
            models = client.get("/v1/models")
            models.raise_for_status()
            body = {
                "model": models.json()["data"][0]["id"],  # unless `options` have one
                "messages": [{"role": "user", "content": question}],
                "stream": True,
                "stream_options": {"include_usage": True},
                **options,
            }
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise AskFailed(f"{url}: {_message(response)}")
                for line in response.iter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    chunk = json.loads(line[len("data: ") :])
                    if "error" in chunk:
                        raise AskFailed(f"{url}: {chunk['error']['message']}")
                    yield _Chunk.of(chunk)
    except httpx.ConnectError as error:
        raise AskFailed(
            f"{url}: nobody listens there", "start one: controllable-inference serve MANIFEST"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise AskFailed(f"{url}: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # no JSON, or of another form
        raise AskFailed(f"{url}: what answers there is no server of models, or speaks otherwise") from error


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
