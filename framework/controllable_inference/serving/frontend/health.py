"""Whether the model really answers. Triton's own READY stays true when its model process is dead."""

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass

from controllable_inference.serving.frontend.errors import ApiError
from controllable_inference.serving.frontend.settings import FrontendSettings
from controllable_inference.serving.frontend.triton_client import Question, TritonClient

log = logging.getLogger(__name__)

PROGRESS = 5.0
"""Seconds in which a working model that has requests gives at least two signs of life."""

BAD_AGE = 0.5
"""Seconds for which a verdict that is not "ready" is shared, where a good one's would be longer: a model that
has just been loaded, or has recovered, is to get requests at once. And who acts on two bad looks a second
apart has then seen two verdicts, and not one of a moment twice."""

CANARY = Question(
    prompt="1",
    sampling={"max_tokens": 1, "temperature": 0.0, "seed": 0},
    control={"max_paths": 1, "max_tokens": 1, "effort": "none", "trace": "none"},
    stream=False,
    request_id="canary",
    probe=True,
)


@dataclass(frozen=True)
class Verdict:
    """ready: answers now. live: a restart would not help (it answers, is busy, or is still loading)."""

    ready: bool
    live: bool
    reason: str
    at: float


class Health:
    """One canary at a time, its verdict shared by all who ask within `canary_age` seconds, or BAD_AGE."""

    def __init__(self, client: TritonClient, settings: FrontendSettings) -> None:
        self._client = client
        self._settings = settings
        self._verdict: Verdict | None = None
        self._running: asyncio.Task[Verdict] | None = None
        self._reachable = time.monotonic()  # the frontend's own start counts: loading begins there

    async def verdict(self) -> Verdict:
        """The present verdict, from the canary in flight, the last one, or a new one."""
        if self._verdict is not None and time.monotonic() - self._verdict.at < self._shared(self._verdict):
            return self._verdict
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._examine())
        return await asyncio.shield(self._running)

    def _shared(self, verdict: Verdict) -> float:
        age = self._settings.canary_age
        return age if verdict.ready else min(age, BAD_AGE)

    async def _examine(self) -> Verdict:
        try:
            async with asyncio.timeout(self._settings.canary_timeout):
                reason, busy = await self._canary()
        except TimeoutError:
            reason, busy = f"no answer within {self._settings.canary_timeout:g} s", True
        now = time.monotonic()
        if reason is None:
            verdict = Verdict(ready=True, live=True, reason="the model answers", at=now)
        elif busy and now - self._client.last_progress < PROGRESS:
            # The canary did not get through, but others have replies, which the model gives for work done.
            verdict = Verdict(ready=True, live=True, reason="busy: " + reason, at=now)
        elif await self._client.is_loading():
            loading = now - self._reachable < self._settings.loading
            verdict = Verdict(ready=False, live=loading, reason="loading: " + reason, at=now)
        else:
            verdict = Verdict(ready=False, live=False, reason=reason, at=now)
        if not verdict.reason.startswith("loading"):
            self._reachable = now
        if self._verdict is None or self._verdict.ready != verdict.ready:
            log.info("model is %s: %s", "ready" if verdict.ready else "not ready", verdict.reason)
        self._verdict = verdict
        return verdict

    async def _canary(self) -> tuple[str | None, bool]:
        """None where the model answered, else why not; and whether it may only be busy."""
        try:
            async with aclosing(self._client.ask(CANARY)) as replies:
                async for reply in replies:
                    if reply.finish_reason is not None:
                        return None, False
        except ApiError as error:
            return error.message, error.status == 429
        return "the stream ended without an answer", False
