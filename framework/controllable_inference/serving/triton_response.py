"""Engine events become Triton responses: what is sent now, and what waits for the next one. Pure."""

import json
from dataclasses import dataclass, field

from controllable_inference.core import events
from controllable_inference.core.events import Event
from controllable_inference.core.request import Result

Outputs = dict[str, str | list[str]]
"""Output tensors by name; `event` holds several values, the others one."""


@dataclass
class ResponseBuilder:
    """Gathers a request's events between two responses.

    stream: whether anything is wanted before the end. trace: `full` adds every event in the `event` tensor.
    think_end: the text that ends the model's thinking, None where it doesn't think aloud.
    After `feed` of Done or Failed, `finished` holds it and `final()` is the last response.
    """

    stream: bool
    trace: str | None
    think_end: str | None
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
    def needs_deltas(self) -> bool:
        """Whether the engine has to follow the text of running paths."""
        return self.stream or self.trace == "full"

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
            outputs["reasoning_output"] = reasoning_of(result, self.think_end)
        outputs.setdefault("text_output", "")
        outputs["finish_reason"] = self.finished.finish_reason
        outputs["usage"] = json.dumps(result.usage.to_json())
        return outputs


def reasoning_of(result: Result, think_end: str | None) -> str:
    """The winning path's thinking; empty where it didn't think."""
    thought, found, _ = result.text.partition(think_end) if think_end else ("", "", "")
    return thought.strip() if found or not result.content else ""
