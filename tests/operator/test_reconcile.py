"""What reconcile tells of an API server that does not take the children."""

from typing import Any

import pytest
from controllable_operator.api import API_VERSION, KIND
from controllable_operator.errors import ApiError, Forbidden, NotFound
from controllable_operator.kinds import MODEL, Kind
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store


class Refusing:
    """An API server that has one model and takes nothing but its status."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.status_writes = 0
        self.model: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": "nano",
                "namespace": "test",
                "uid": "1",
                "generation": 1,
                "resourceVersion": "1",
            },
            "spec": {"model": {"uri": "image:///models/nano"}},
        }

    def get(self, *_: Any) -> None:
        return None

    def create(self, *_: Any) -> None:
        return None

    def apply(self, kind: Kind, manifest: dict[str, Any], subresource: str | None = None) -> dict[str, Any]:
        if subresource != "status":
            raise self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        self.status_writes += 1
        version = str(self.status_writes + 1)
        self.model |= {
            "metadata": self.model["metadata"] | {"resourceVersion": version},
            "status": manifest["status"],
        }
        return self.model

    @property
    def ready(self) -> tuple[str, str] | None:
        conditions = self.model.get("status", {}).get("conditions", [])
        return next(((c["reason"], c["message"]) for c in conditions if c["type"] == "Ready"), None)


def attempt(server: Refusing, failures: int, settings: Settings) -> None:
    store = Store()
    store.put(MODEL, server.model)
    reconcile(Context(server, store, settings), "test", "nano", failures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ApiError('admission webhook "policy.example.com" denied the request: no', 400), "ApiError"),
        (Forbidden("exceeded quota", 403), "Forbidden"),
    ],
)
def test_a_refusal_is_told_at_once(error: ApiError, reason: str, settings: Settings) -> None:
    server = Refusing(error)
    with pytest.raises(ApiError):
        attempt(server, 0, settings)
    assert server.ready == (reason, str(error))


def test_a_failure_is_told_once_it_goes_on(settings: Settings) -> None:
    server = Refusing(ApiError("failed calling webhook: connection refused", 500))
    told = []
    for failures in range(5):
        with pytest.raises(ApiError):
            attempt(server, failures, settings)
        told.append(server.ready is not None)
    assert told == [False, False, False, True, True]
    assert server.ready == ("ApiError", "failed calling webhook: connection refused")


def test_no_answer_and_a_namespace_that_goes_away_are_not_told(settings: Settings) -> None:
    server = Refusing(ApiError("the API server did not answer"), NotFound("it is being terminated", 404))
    with pytest.raises(ApiError):
        attempt(server, 9, settings)
    attempt(server, 9, settings)
    assert server.ready is None


def test_a_message_that_differs_only_in_ports_or_ids_is_written_once(settings: Settings) -> None:
    messages = ["request 3f-ab1 of 10.0.0.1:41234 failed", "request 4e-cd2 of 10.0.0.1:50000 failed"]
    server = Refusing(*(ApiError(message, 500) for message in [*messages, "another webhook failed"]))
    for _ in messages:
        with pytest.raises(ApiError):
            attempt(server, 5, settings)
    assert server.status_writes == 1
    with pytest.raises(ApiError):
        attempt(server, 5, settings)
    assert server.ready == ("ApiError", "another webhook failed")
