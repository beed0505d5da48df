"""Engine events become Triton responses: what is sent now, and what waits for the next one. Pure."""

import json
from dataclasses import dataclass, field

from controllable_inference.engine import events
from controllable_inference.engine.events import Event
from controllable_inference.engine.request import Result

Outputs = dict[str, str | list[str]]
"""Output tensors by name; `event` holds several values, the others one."""


@dataclass
class ResponseBuilder:
    """Gathers a request's events between two responses.

    stream: whether deltas are wanted at all. trace: `full` adds every event, JSON, in the `event` tensor.
    After `feed` of Done or Failed, `finished` holds it and `final()` is the last response.
    """

    stream: bool
    trace: str
    finished: events.Done | events.Failed | None = None
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _events: list[str] = field(default_factory=list)
    _leader: int | None = None
    _thoughts: dict[int, str] = field(default_factory=dict)

    def feed(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, events.Done | events.Failed):
            self.finished = event
            return
        if self.trace == "full":
            self._events.append(json.dumps(event.to_json()))
        if isinstance(event, events.Leading):
            # The new leader's thinking starts from its beginning, some of which may have come before it led.
            if any(self._thoughts.values()):
                self._reasoning.append("\n\n")
            self._leader = event.path
            self._reasoning.append(self._thoughts.get(event.path, ""))
        elif isinstance(event, events.Delta):
            self._delta(event)

    def _delta(self, event: events.Delta) -> None:
        if event.kind == "answer":
            self._text.append(event.text)
            return
        self._thoughts[event.path] = self._thoughts.get(event.path, "") + event.text
        if event.path == self._leader:
            self._reasoning.append(event.text)

    @property
    def pending(self) -> bool:
        """Whether there is something to stream now."""
        return self.stream and bool(self._text or self._reasoning or self._events)

    def take(self) -> Outputs:
        """What has come since the last response; empty where nothing has."""
        outputs: Outputs = {}
        if self._text:
            outputs["text_output"] = "".join(self._text)
        if self._reasoning:
            outputs["reasoning_output"] = "".join(self._reasoning)
        if self._events:
            outputs["event"] = self._events
        self._text, self._reasoning, self._events = [], [], []
        return outputs

    def final(self) -> Outputs:
        """The last response of a request that ended well: what is left, and how it went."""
        assert isinstance(self.finished, events.Done)
        result = self.finished.result
        outputs = self.take()
        if not self.stream:
            outputs["text_output"] = result.content
            outputs["reasoning_output"] = reasoning_of(result)
        outputs.setdefault("text_output", "")
        outputs["finish_reason"] = self.finished.finish_reason
        outputs["usage"] = json.dumps(result.usage.to_json())
        return outputs


def reasoning_of(result: Result) -> str:
    """The winning path's text up to what the reader is shown."""
    if not result.content:
        return result.text.strip()
    thought, _, _ = result.text.rpartition(result.content)
    return thought.strip()
