"""The driver as a plugin of kubelet: two sockets, of which kubelet finds the one and is told the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
from kubernetes import client

from dev.cluster.errors import ClusterError
from dev.cluster.network import NODE
from dev.gpus import protos
from dev.gpus.driver import Driver
from dev.gpus.topologies import DEVICE_CLASS, DRIVER, Topology, resource_slice

KUBELET = Path("/var/lib/kubelet")
CDI = Path("/var/run/cdi")
PATIENCE = 30.0  # seconds for kubelet to find the plugin

Manifest = dict[str, Any]


@contextmanager
def plugged_in(topology: Topology) -> Iterator[None]:
    """The GPUs are there from when kubelet knows the driver, and gone at the end.

    The end is for when no pod has any of them: without its driver, kubelet can't end such a pod.
    """
    driver = Driver(topology, _claim, CDI)
    status = _RegistrationStatus()
    endpoint = KUBELET / "plugins" / DRIVER / "dra.sock"
    info = {
        "type": "DRAPlugin",
        "name": DRIVER,
        "endpoint": str(endpoint),
        "supportedVersions": ["v1.DRAPlugin"],
    }
    dra = {"NodePrepareResources": driver.prepare, "NodeUnprepareResources": driver.unprepare}
    registration = {"GetInfo": lambda _: info, "NotifyRegistrationStatus": status.note}
    with ExitStack() as stack:
        stack.enter_context(_serving(endpoint, protos.handlers(protos.DRA, dra)))
        socket = KUBELET / "plugins_registry" / f"{DRIVER}-reg.sock"
        stack.enter_context(_serving(socket, protos.handlers(protos.REGISTRATION, registration)))
        status.wait()
        stack.enter_context(_published(topology))
        yield


class _RegistrationStatus:
    """What kubelet says of the plugin."""

    def __init__(self) -> None:
        self._said = threading.Event()
        self._error = ""

    def note(self, status: Manifest) -> Manifest:
        self._error = "" if status.get("pluginRegistered") else status.get("error", "no reason is told")
        self._said.set()
        return {}

    def wait(self) -> None:
        if not self._said.wait(PATIENCE):
            raise ClusterError(f"kubelet did not look for plugins in {KUBELET} within {PATIENCE:.0f} s")
        if self._error:
            raise ClusterError(f"kubelet refuses the driver {DRIVER}: {self._error}")


@contextmanager
def _serving(socket: Path, handler: grpc.GenericRpcHandler) -> Iterator[None]:
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)  # a driver that was killed leaves its own
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield
    finally:
        server.stop(grace=1).wait()
        socket.unlink(missing_ok=True)


@contextmanager
def _published(topology: Topology) -> Iterator[None]:
    """The node's ResourceSlice and the DeviceClass, as the driver's chart brings it."""
    api = client.ResourceV1Api()
    published = resource_slice(topology, NODE)
    _unpublish(published["metadata"]["name"])
    api.create_resource_slice(published)
    api.create_device_class(DEVICE_CLASS)
    try:
        yield
    finally:
        _unpublish(published["metadata"]["name"])


def _unpublish(name: str) -> None:
    api = client.ResourceV1Api()
    for delete, what in ((api.delete_resource_slice, name), (api.delete_device_class, DRIVER)):
        try:
            delete(what)
        except client.ApiException as error:
            if error.status != 404:
                raise


def _claim(namespace: str, name: str) -> Manifest:
    api = client.ResourceV1Api()
    try:
        found = api.read_namespaced_resource_claim(name, namespace)
    except client.ApiException as error:
        raise OSError(f"claim {namespace}/{name} can't be read: {error.status} {error.reason}") from error
    return dict(api.api_client.sanitize_for_serialization(found))
