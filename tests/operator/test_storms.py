"""An API server that refuses most of what it is sent: nothing is lost, and nobody is hammered."""

import asyncio
import copy
import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kubernetes
import pytest
from controllable_operator.api import API_VERSION, KIND
from controllable_operator.client import Client
from controllable_operator.controller import Controller
from controllable_operator.errors import ApiError, Conflict
from controllable_operator.kinds import DEPLOYMENT, MODEL, Kind
from controllable_operator.reconcile import Context, reconcile
from controllable_operator.settings import Settings
from controllable_operator.store import Store
from controllable_operator.workqueue import WorkQueue

Manifest = dict[str, Any]


class Stormy:
    """An API server that refuses a share of the writes."""

    def __init__(self, *errors: ApiError, share: float = 0.0) -> None:
        self._random, self._errors, self._share = random.Random(1), errors, share
        self._version = itertools.count(1)
        self._lock = threading.Lock()
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.refused = self.taken = 0

    def get(self, kind: Kind, _: str, name: str) -> Manifest | None:
        return self.objects.get((kind.name, name))

    def create(self, *_: Any) -> None:
        return None

    def apply(self, kind: Kind, manifest: Manifest, subresource: str | None = None) -> Manifest:
        with self._lock:
            if self._random.random() < self._share:
                self.refused += 1
                raise self._random.choice(self._errors)
            self.taken += 1
            key = kind.name, manifest["metadata"]["name"]
            before = self.objects.get(key, {"metadata": {"uid": str(next(self._version))}})
            after = copy.deepcopy(before | manifest) | (
                {"spec": before["spec"]} if subresource == "status" else {}
            )
            after["metadata"] = before["metadata"] | after["metadata"]
            after["metadata"]["resourceVersion"] = str(next(self._version))
            self.objects[key] = after
            return after

    def model(self, name: str) -> Manifest:
        metadata = {"namespace": "test", "name": name, "uid": name, "generation": 1, "resourceVersion": "0"}
        manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata,
            "spec": {"model": {"uri": "image:///models/nano"}, "replicas": 0},
        }
        self.objects[KIND, name] = manifest
        return manifest


@pytest.mark.parametrize(
    "errors",
    [
        [Conflict("the object has been modified", 409)],
        [ApiError("too many requests", 429, 0.01)],
        [ApiError("etcdserver: request timed out", 500), ApiError("no answer"), Conflict("modified", 409)],
    ],
    ids=["409", "429", "all sorts"],
)
async def test_every_model_arrives_though_most_writes_are_refused(
    errors: list[ApiError], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controllable_operator.controller.WorkQueue", partial(WorkQueue, 0.005, 0.02))
    server, store = Stormy(*errors, share=0.7), Store()
    names = [f"model-{index}" for index in range(5)]
    for name in names:
        store.put(MODEL, server.model(name))
    context = Context(server, store, settings)  # type: ignore[arg-type]
    controller = Controller(partial(reconcile, context), lambda: [("test", name) for name in names])
    controller.start()

    def ready(name: str) -> bool:
        status = (store.get(MODEL, "test", name) or {}).get("status", {})
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        return conditions.get("Ready") == "True"

    def arrived() -> bool:
        return all(map(ready, names))

    try:
        for _ in range(1000):
            if arrived():
                break
            await asyncio.sleep(0.02)
        assert arrived()
    finally:
        await controller.stop()
    assert server.refused > server.taken / 2
    assert sum(kind == "Deployment" for kind, _ in server.objects) == 5
    assert server.taken < 5 * 12  # what was written once is not written again on every try


@contextmanager
def api_server(status: int, headers: dict[str, str], body: bytes) -> Iterator[tuple[Client, list[float]]]:
    """A server that has one answer, and a client of it."""
    asked: list[float] = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PATCH(self) -> None:
            asked.append(time.monotonic())
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = kubernetes.client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    try:
        yield Client(kubernetes.client.ApiClient(configuration)), asked
    finally:
        server.shutdown()


CHILD = {"metadata": {"namespace": "test", "name": "nano"}}


def test_a_server_that_is_overloaded_is_asked_once_and_its_pause_is_kept() -> None:
    with (
        api_server(429, {"Retry-After": "7"}, b'{"message": "slow down"}') as (client, asked),
        pytest.raises(ApiError, match="slow down") as error,
    ):
        client.apply(DEPLOYMENT, CHILD)
    assert error.value.retry_after == 7
    assert len(asked) == 1  # the HTTP library underneath doesn't try again by itself


def test_an_answer_that_is_cut_off_is_an_error_of_the_api() -> None:
    with (
        api_server(200, {}, b'{"metadata": ') as (client, _),
        pytest.raises(ApiError, match="is no JSON"),
    ):
        client.apply(DEPLOYMENT, CHILD)
