"""Whether the model really answers. Triton's own READY stays true when the model process or its engine is dead."""

import asyncio
import logging
import time
from dataclasses import dataclass

from controllable_inference.serving.frontend.errors import ApiError
from controllable_inference.serving.frontend.settings import FrontendSettings
from controllable_inference.serving.frontend.triton_client import Question, TritonClient

log = logging.getLogger(__name__)

CANARY = Question(
    prompt="1",
    sampling={"max_tokens": 1, "temperature": 0.0, "seed": 0},
    control={"max_paths": 1, "max_tokens": 1, "effort": "none", "trace": "none"},
    stream=False,
    request_id="canary",
)


@dataclass(frozen=True)
class Verdict:
    """ready: answers now. live: a restart would not help (it answers, is busy, or is still loading)."""

    ready: bool
    live: bool
    reason: str
    at: float


class Health:
    """One canary at a time, its verdict shared by all who ask within `canary_age` seconds."""

    def __init__(self, client: TritonClient, settings: FrontendSettings) -> None:
        self._client = client
        self._settings = settings
        self._verdict: Verdict | None = None
        self._running: asyncio.Task[Verdict] | None = None
        self._reachable = time.monotonic()  # the frontend's own start counts: loading begins there

    async def verdict(self) -> Verdict:
        """The present verdict, from the canary in flight, the last one, or a new one."""
        if self._verdict is not None and time.monotonic() - self._verdict.at < self._settings.canary_age:
            return self._verdict
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._examine())
        return await asyncio.shield(self._running)

    async def _examine(self) -> Verdict:
        asked = time.monotonic()
        reason = await self._canary()
        now = time.monotonic()
        if reason is None:
            verdict = Verdict(ready=True, live=True, reason="the model answers", at=now)
        elif self._client.last_progress > asked:
            # Too busy for the canary to get through in time, but others are being answered.
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

    async def _canary(self) -> str | None:
        """None where the model answered, else why not."""
        try:
            async with asyncio.timeout(self._settings.canary_timeout):
                async for reply in self._client.ask(CANARY):
                    if reply.finish_reason is not None:
                        return None
        except ApiError as error:
            return error.message
        except TimeoutError:
            return f"no answer within {self._settings.canary_timeout:g} s"
        return "the stream ended without an answer"
