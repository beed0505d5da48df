"""Stand-ins for unit tests: an engine that speaks by script, and a channel that remembers."""

import threading
import time
from types import SimpleNamespace

from controllable_inference.core import events
from controllable_inference.core.request import Result, Usage


class FakeEngine:
    """Answers every request on a thread of its own: `words` reasoning deltas, then a vote and Done.

    A prompt holding "slow" takes a second a word; one holding "mute" says nothing until it is cancelled.
    """

    def __init__(self, words=3):
        self.words = words
        self.alive = True
        self.submitted = []
        self.cancelled = []
        self.handles = []
        self.restarts = 0
        self.steps = 0
        self.working = True
        self.mortal = False

    def submit(self, prompt, sampling, budget, on_event, *, adapter, streaming, counted):
        handle = FakeHandle(self, on_event)
        self.handles.append(handle)
        self.submitted.append((prompt, sampling, budget, adapter))
        threading.Thread(target=self._run, args=(str(prompt), handle, on_event), daemon=True).start()
        return handle

    def _run(self, prompt, handle, on_event):
        on_event(events.PathStarted(0))
        on_event(events.Leading(0))
        pause = 1.0 if "slow" in prompt else 0.0
        for number in range(self.words):
            if handle.gone.wait(pause):
                return
            on_event(events.Delta(0, "reasoning", f"word{number} "))
        if "mute" in prompt:
            handle.gone.wait(60)
            return
        on_event(events.Vote("42", 1.0, {"42": 1.0}, "finished"))
        on_event(events.Delta(0, "answer", "42"))
        on_event(events.Done("stop", result()))

    def die(self):
        """What the real engine does when its thread ends: everyone in flight is told."""
        self.alive = False
        for handle in self.handles:
            handle.gone.set()
            handle.on_event(events.Failed("EngineDead", "the engine ended by RuntimeError; try again"))

    def stats(self):
        self.steps += self.working
        return SimpleNamespace(steps=self.steps)

    def restart(self):
        self.alive = not self.mortal
        self.restarts += 1

    def shutdown(self, drain_timeout):
        self.alive = False


class FakeHandle:
    def __init__(self, engine, on_event):
        self.gone = threading.Event()
        self._engine = engine
        self.on_event = on_event

    def cancel(self):
        self._engine.cancelled.append(time.monotonic())
        self.gone.set()
        self.on_event(events.Done("cancelled", result()))


def result():
    usage = Usage(prompt_tokens=5, completion_tokens=7, reasoning_tokens=6, paths_started=1, paths_finished=1)
    return Result("42", "word0 word1 word2</think>42", 1.0, "42", "stop", [], usage)


class RecordingChannel:
    """What a client would have received."""

    def __init__(self):
        self.responses = []
        self.error = None
        self.finals = 0
        self.cancelled = False
        self.done = threading.Event()

    def send(self, outputs, final):
        self.responses.append(outputs)
        self._end(final)

    def fail(self, code, message):
        self.error = (code, message)
        self._end(True)

    def is_cancelled(self):
        return self.cancelled

    def _end(self, final):
        if final:
            self.finals += 1
            self.done.set()


class RecordingSeries:
    """A metric series that remembers."""

    def __init__(self):
        self.value = 0.0
        self.observed = []

    def increment(self, value):
        self.value += value

    def set(self, value):
        self.value = value

    def observe(self, value):
        self.observed.append(value)
