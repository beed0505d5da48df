"""From the engine thread to Triton: one thread that sends what requests have to say.

The engine must not wait for Triton, so its events only land in a queue here. The pump batches a stream's
deltas, keeps silent streams audibly alive, polls for cancellation (Triton never calls back), and ends every
request with exactly one final response, whatever happens.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from controllable_inference.core import events
from controllable_inference.core.events import Event
from controllable_inference.serving.refusals import ErrorCode, refusal
from controllable_inference.serving.triton_response import Outputs, ResponseBuilder

log = logging.getLogger(__name__)

TICK = 0.02
CANCEL_POLL = 0.1
INTERVAL = 0.04
"""Seconds: how often streams are looked at, how often asked whether they were cancelled, and the least gap
between two responses of one stream (each costs about 0.2 ms of CPU, and nobody reads faster)."""


class Channel(Protocol):
    """The way back to one client; in production a Triton response sender."""

    def send(self, outputs: Outputs, final: bool) -> None: ...
    def fail(self, code: ErrorCode, message: str) -> None: ...
    def is_cancelled(self) -> bool: ...


class Handle(Protocol):
    """The engine's side of a request."""

    def cancel(self) -> None: ...


class Stream:
    """One request on its way through. The engine thread calls it with events; the pump does the rest."""

    def __init__(
        self, channel: Channel, builder: ResponseBuilder, heartbeat: float | None, wake: Callable[[], None]
    ) -> None:
        self.handle: Handle | None = None
        self.closed = False
        self.cancelled = False
        self._channel = channel
        self._builder = builder
        self._heartbeat = heartbeat
        self._wake = wake
        self._events: deque[Event] = deque()
        self._sent = self._polled = time.monotonic()
        self._spoken = False
        self._steps = -1

    def __call__(self, event: Event) -> None:
        self._events.append(event)
        if not self._spoken or isinstance(event, events.Done | events.Failed):
            self._wake()

    def tick(self, now: float, steps: int) -> None:
        """Take in what the engine said, and send what is due. `steps`: how many the engine has made."""
        if self.closed:
            return
        for _ in range(len(self._events)):
            self._builder.feed(self._events.popleft())
        if self._builder.finished is not None:
            self._finish(self._builder.finished)
        elif self.handle is not None and not self.cancelled and now - self._polled >= CANCEL_POLL:
            self._polled = now
            if self._channel.is_cancelled():
                self.cancelled = True
                self.handle.cancel()
        if not self.closed and self._due(now, steps):
            self._channel.send(self._builder.take() if self._builder.stream else {}, final=False)
            self._sent, self._spoken, self._steps = now, True, steps

    def fail(self, code: ErrorCode, message: str) -> None:
        """End the request with an error, unless it has ended already."""
        if not self.closed:
            self.closed = True
            self._channel.fail(code, message)

    def abort(self) -> None:
        """End the request after its channel broke: a last try to tell the client, and the engine is freed."""
        with contextlib.suppress(Exception):
            self.fail("INTERNAL", "server: the response could not be sent")
        self.closed = True
        if self.handle is not None:
            self.handle.cancel()

    def _due(self, now: float, steps: int) -> bool:
        if self.cancelled:
            return False
        if self._builder.pending:
            return not self._spoken or now - self._sent >= INTERVAL
        # A sign of life is given for work, not for being there: an engine that hangs falls silent.
        return self._heartbeat is not None and now - self._sent >= self._heartbeat and steps != self._steps

    def _finish(self, last: events.Done | events.Failed) -> None:
        if isinstance(last, events.Failed):
            self.fail(*refusal(last.error, last.message))
        elif last.finish_reason == "cancelled":
            # Who did not ask for it is cut off because the engine shuts down.
            if self.cancelled:
                self.fail("CANCELLED", "request: cancelled by the client")
            else:
                self.fail("UNAVAILABLE", "server: shutting down")
        elif not self.closed:
            self._channel.send(self._builder.final(), final=True)
            self.closed = True


class ResponsePump:
    """The thread. `on_period` runs in it four times a second and returns the engine's count of steps."""

    PERIOD = 0.25

    def __init__(self, on_period: Callable[[], int]) -> None:
        self._on_period = on_period
        self._steps = 0
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="response-pump", daemon=True)
        self._thread.start()

    def open(self, channel: Channel, builder: ResponseBuilder, heartbeat: float | None) -> Stream:
        """Take a request in. Give the stream to the engine as `on_event`, then set its `handle`."""
        stream = Stream(channel, builder, heartbeat, self._awake.set)
        with self._lock:
            self._streams.append(stream)
        self._awake.set()
        return stream

    def close(self) -> None:
        """Stop the thread; whatever is still open ends with an error."""
        self._closing = True
        self._awake.set()
        self._thread.join()
        for stream in self._snapshot():
            self._tick(stream, time.monotonic())
            stream.fail("UNAVAILABLE", "server: shutting down")

    def _snapshot(self) -> list[Stream]:
        with self._lock:
            return list(self._streams)

    def _run(self) -> None:
        checked = 0.0
        while not self._closing:
            self._awake.wait(TICK if self._streams else self.PERIOD)
            self._awake.clear()
            now = time.monotonic()
            for stream in self._snapshot():
                self._tick(stream, now)
            if now - checked >= self.PERIOD:
                checked = now
                self._period()
            with self._lock:
                self._streams = [stream for stream in self._streams if not stream.closed]

    def _period(self) -> None:
        try:
            self._steps = self._on_period()
        except Exception:
            # A metric that can't be told must not silence everybody.
            log.exception("the periodic work failed")

    def _tick(self, stream: Stream, now: float) -> None:
        try:
            stream.tick(now, self._steps)
        except Exception:
            # One broken request must not silence the others.
            log.exception("sending a response failed")
            stream.abort()
