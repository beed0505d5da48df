"""Everything that can go wrong, by name. Each message says what was wrong, where, and what to do about it."""

from __future__ import annotations


class ControllableError(Exception):
    """Base of all errors this library raises on purpose."""


class ModelNotFound(ControllableError):
    """There is no checkpoint under the given path or repository id."""


class ModelFetchFailed(ControllableError):
    """A model could not be brought here: the network, the source's server or the disk. It may pass."""


class ModelLoadError(ControllableError):
    """A checkpoint is there, but it can't or must not be loaded (pickle, foreign architecture)."""


class EngineConfigError(ControllableError):
    """A limit that no engine can keep; the message names it."""


class ControlConfigError(ControllableError):
    """control.json or a gate/budget beside it does not fit this model, or gives scores that mean nothing."""


class ControllerError(ControllableError):
    """A controller wants something that can't be done, or raised; the message names it and what it said."""


class ModelOutputError(ControllableError):
    """The model's output for a request is no distribution over tokens, but not-a-number or infinite."""


class RequestError(ControllableError):
    """A request asks for something malformed or impossible.

    `field` is the dotted name of the offending field, as the client spelled the structure, for example
    `sampling_parameters.temperature`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class AdapterError(ControllableError):
    """A domain adapter is malformed, is there already, or does not fit this model."""


class EngineBusy(ControllableError):
    """What was asked for needs an engine without requests, and some are running or waiting; try when idle."""


class QueueFull(ControllableError):
    """The engine already holds as many running and waiting requests as it may; try again later."""


class QueueTimeout(ControllableError):
    """A request waited longer than the queue's timeout before a place came free; try again later."""


class DeadlineExceeded(ControllableError):
    """A request's own deadline passed before its first token: there is nothing to answer with."""


class EngineDead(ControllableError):
    """The engine's thread ended by an unexpected error; the cause is in `__cause__` where known."""


class RankLost(ControllableError):
    """A process that computes its share of a tensor-parallel model ended, or was not heard of in time."""


class EngineClosed(ControllableError):
    """The engine was shut down, and takes no more requests."""
