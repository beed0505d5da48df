"""Runs the frontend: uvicorn, which stops taking requests on SIGTERM and lets open ones finish."""

import signal
import sys

import uvicorn

from controllable_inference.serving.frontend.app import create_app
from controllable_inference.serving.frontend.settings import FrontendSettings


def run_frontend(settings: FrontendSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    # uvicorn raises the signal again once it has drained; a stop that was asked for is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
        server_header=False,
    )
