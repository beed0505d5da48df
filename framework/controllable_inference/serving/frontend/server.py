"""Runs the frontend: uvicorn, which stops taking requests on SIGTERM and lets open ones finish."""

import uvicorn

from controllable_inference.serving.frontend.app import create_app
from controllable_inference.serving.frontend.settings import FrontendSettings


def run_frontend(settings: FrontendSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
        server_header=False,
    )
