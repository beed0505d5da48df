"""What can go wrong, as types. Every message says what, where, and what to do."""


class OperatorError(Exception):
    """Base of the operator's errors.

    reason: one CamelCase word, used as the condition's reason and as a metric label.
    permanent: True if nothing changes until somebody acts (the Stalled condition).
    """

    reason = "Error"
    permanent = False


class InvalidSpec(OperatorError):
    """The spec can't be turned into pods."""

    reason = "InvalidSpec"
    permanent = True


class Unplaceable(OperatorError):
    """No pod is to be made, as the GPUs that there are can't be what is asked for. Of itself, nothing
    changes: no pod waits that would make an autoscaler add a node."""

    reason = "InsufficientCapacity"
    permanent = True


class NameConflict(OperatorError):
    """An object that isn't ours has the name that a child needs."""

    reason = "NameConflict"
    permanent = True


class ApiError(OperatorError):
    """The API server, or a webhook that it asks, refused or failed.

    status: HTTP status, 0 where no answer came.
    retry_after: seconds that the server asked to wait, None where it didn't.
    """

    reason = "ApiError"

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class Forbidden(ApiError):
    """The operator may not do this (its role, an admission policy)."""

    reason = "Forbidden"


class QuotaExceeded(Forbidden):
    """A ResourceQuota leaves no room for it."""

    reason = "InsufficientCapacity"


class Conflict(ApiError):
    """The object changed, or was replaced by another of the same name, between reading and writing."""

    reason = "Conflict"


class NotFound(ApiError):
    """What was written to is gone or on its way out: the object, or its namespace."""

    reason = "NotFound"


class NotLeading(OperatorError):
    """Another replica of the operator leads now; what was about to be written is left to it."""

    reason = "NotLeading"
