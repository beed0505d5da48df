"""Runs the frontend: uvicorn, which on SIGTERM leaves in two steps, so that no request is lost."""

import signal
import sys
import time
from types import FrameType

import uvicorn

from controllable_inference.serving.frontend.app import create_app
from controllable_inference.serving.frontend.settings import FrontendSettings

# Load balancers keep an idle connection for a minute or so: they are to end it, and not send a request down
# one that is being ended here.
_IDLE_SECONDS = 75
_CLOSE = (b"connection", b"close")


class LameDuckServer(uvicorn.Server):
    """A server that, told to stop, takes requests for `lame_duck` seconds more, then lets open ones finish.

    Whoever routes requests takes some time to forget it. Until then it answers, and asks with each answer not
    to use the connection again: one that is closed while a request is on its way loses that request.
    """

    def __init__(self, config: uvicorn.Config, lame_duck: float) -> None:
        super().__init__(config)
        self._lame_duck = lame_duck
        self._leaves_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT; a second one is not waited for."""
        if sig != signal.SIGTERM or self._lame_duck <= 0 or self._leaves_at is not None:
            super().handle_exit(sig, frame)
            return
        self._leaves_at = time.monotonic() + self._lame_duck
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True ends the server."""
        if self._leaves_at is not None and time.monotonic() >= self._leaves_at:
            self.should_exit = True
        return await super().on_tick(counter)


def run_frontend(settings: FrontendSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal again once it has drained; a stop that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
        server_header=False,
    )
    LameDuckServer(config, settings.lame_duck).run()
