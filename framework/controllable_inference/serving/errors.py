"""Errors of the serving side that the engine knows nothing of."""

from controllable_inference.errors import ControllableError


class ServingError(ControllableError):
    """Something a person can act on: the message says what was wrong and where, `hint` what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


class ConfigError(ServingError):
    """engine.json or a manifest does not say what it must."""


class TritonNotFound(ServingError):
    """No tritonserver on this machine, and none could be installed."""


class UnsupportedRuntime(ServingError):
    """This Python environment can't host Triton's Python backend."""


class ServerFailed(ServingError):
    """Triton or the frontend would not start, or would not stay up."""
