"""The way to the cluster: kubeconfig, the few GETs that the plugin makes, and a port-forward."""

import http.client
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3
from kubernetes.stream.ws_client import portforward_call

from controllable_operator.kinds import POD
from controllable_operator.plugin.errors import (
    ModelSilent,
    NoCluster,
    NotAllowed,
    NotFound,
    NotServed,
    PluginError,
    Refused,
    ServerAway,
)
from controllable_operator.settings import pods_namespace

Document = dict[str, Any]
Documents = list[Document]  # where `list` is a method

PARALLEL = 8
_TIMEOUT = (5, 30)  # seconds to connect, seconds to answer
_PAGE = 500
SILENCE = 120.0  # seconds; a model sends signs of life while it thinks
_JSON = "application/json"
METADATA_ONLY = f"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"
_CANNOT = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"(?: in API group "(?P<group>[^"]*)")?'
)


class Connection:
    """Typed errors around `kubernetes.client`; safe to use from several threads.

    namespace: the one that the kubeconfig's context, or the pod that this runs in, names.
    """

    def __init__(self, configuration: kubernetes.client.Configuration, namespace: str) -> None:
        self.namespace = namespace
        self._configuration = configuration
        self._api = kubernetes.client.ApiClient(configuration)

    @classmethod
    def open(cls, kubeconfig: str | None = None, context: str | None = None) -> "Connection":
        """A connection as kubectl would make it: by kubeconfig, or as the ServiceAccount of a pod.

        Raises:
            NoCluster: neither is there.
        """
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        logging.getLogger("kubernetes").setLevel(logging.CRITICAL)
        configuration = kubernetes.client.Configuration()
        # Once is enough to know: retries make a person wait three times as long for the same news.
        configuration.retries = False
        configuration.connection_pool_maxsize = PARALLEL
        try:
            namespace = _configure(configuration, kubeconfig, context)
        except (kubernetes.config.ConfigException, OSError, ValueError) as error:
            raise NoCluster(
                f"there is no usable kubeconfig ({_first_line(error)}); set KUBECONFIG or --kubeconfig, "
                "and see `kubectl config get-contexts`"
            ) from error
        return cls(configuration, namespace)

    def get(self, path: str, accept: str = _JSON, **query: str) -> Document:
        """One JSON document.

        Raises:
            PluginError: what came instead.
        """
        content = self._fetch(path, accept, query)
        try:
            document: Document = json.loads(content)
        except ValueError as error:
            raise Refused(
                f"{self._configuration.host} answers, but not as an API server would ({error}); "
                "is there a proxy or a login page in between?"
            ) from error
        return document

    def text(self, path: str, **query: str) -> str:
        """One text, such as a log."""
        return self._fetch(path, "*/*", query).decode(errors="replace")

    def list(self, path: str, accept: str = _JSON, **query: str) -> list[Document]:
        """All items of a collection, page by page."""
        items: list[Document] = []
        query = {"limit": str(_PAGE)} | query
        while True:
            page = self.get(path, accept, **query)
            items += page.get("items") or []
            following = page.get("metadata", {}).get("continue")
            if not following:
                return items
            query["continue"] = following

    def list_served(self, path: str) -> Documents:
        """All items of a collection; none where the API server does not know their kind."""
        try:
            return self.list(path)
        except NotServed:
            return []

    @contextmanager
    def http_to_pod(
        self, namespace: str, pod: str, port: int, silence: float = SILENCE
    ) -> Iterator[http.client.HTTPConnection]:
        """An HTTP connection to a pod's port, through the API server and kubelet.

        It ends inside the pod, so it works whatever NetworkPolicy stands before it. `silence`: the most
        seconds without a byte.
        """
        # Not by the generated CoreV1Api: it takes a second to import, and would be taken apart by the call.
        path = f"{POD.path(namespace, pod, 'portforward')}?ports={port}"
        _, url, headers, *_ = self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
        try:
            forward = portforward_call(self._configuration, "GET", url, headers=headers)
        except kubernetes.client.ApiException as error:
            raise _forward_error(error, namespace, pod) from error
        connection = http.client.HTTPConnection(pod)
        connection.sock = forward.socket(port)
        connection.sock.settimeout(silence)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            told = forward.error(port) or _first_line(error)
            raise ModelSilent(
                f"pod {pod} does not answer on port {port} ({told.strip()}); "
                f"look at it: kubectl -n {namespace} describe pod {pod}"
            ) from error
        finally:
            connection.close()
            forward.close()

    def _fetch(self, path: str, accept: str, query: dict[str, str]) -> bytes:
        try:
            request = self._api.param_serialize(
                "GET",
                f"{path}?{urlencode(query)}" if query else path,
                header_params={"Accept": accept},
                auth_settings=["BearerToken"],
            )
            response = self._api.call_api(*request, _request_timeout=_TIMEOUT)
            content: bytes = response.read()
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException, OSError) as error:
            raise ServerAway(
                f"the API server at {self._configuration.host} does not answer ({_first_line(error)}); "
                "is the cluster up, and the right one? (kubectl cluster-info, --context)"
            ) from error
        if 200 <= response.status < 300:
            return content
        raise error_for(response.status, content, path)


def _configure(
    configuration: kubernetes.client.Configuration, kubeconfig: str | None, context: str | None
) -> str:
    """Fill in where the cluster is and who asks; returns the namespace."""
    try:
        kubernetes.config.load_kube_config(kubeconfig, context, client_configuration=configuration)
    except kubernetes.config.ConfigException:
        namespace = pods_namespace()
        if kubeconfig or context or not namespace:
            raise
        kubernetes.config.load_incluster_config(client_configuration=configuration)
        return namespace
    contexts, active = kubernetes.config.list_kube_config_contexts(kubeconfig)
    chosen = next((c for c in contexts if c["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def error_for(status: int, content: bytes, path: str) -> PluginError:
    """The typed error for an answer that isn't a success."""
    try:
        answer = json.loads(content)
        message = str(answer["message"])
    except (ValueError, KeyError, TypeError):
        answer, message = {}, content.decode(errors="replace").strip()[:300]
    if status == 401:
        return NotAllowed(
            "the API server does not know you (401 Unauthorized); log in again, and see `kubectl auth whoami`"
        )
    if status == 403:
        return NotAllowed(_forbidden(message))
    if status == 404 and not answer:
        return NotServed(f"the API server serves nothing at {path}; what defines it is not installed")
    if status == 404:
        return NotFound(f"{message}; see what is there with `kubectl get`")
    return Refused(
        f"GET {path}: {message or f'HTTP status {status}'}; try again, or ask who runs the cluster"
    )


def _forbidden(message: str) -> str:
    found = _CANNOT.search(message)
    if not found:
        return f"the API server refuses ({message}); ask who runs the cluster for the right to do this"
    verb, resource, group = found["verb"], found["resource"], found["group"]
    name = f"{resource}.{group}" if group else resource
    scope = message.partition(found.group())[2].strip()
    return (
        f"you may not {verb} {name} {scope}".rstrip()
        + f"; ask who runs the cluster for a role with verb {verb} on {name} "
        f"(check: kubectl auth can-i {verb} {name})"
    )


def _forward_error(error: kubernetes.client.ApiException, namespace: str, pod: str) -> PluginError:
    told = str(error.reason)
    body = re.search(r'"message":"((?:[^"\\]|\\.)*)"', told)
    message = json.loads(f'"{body[1]}"') if body else told
    if "403" in told.partition("-+-+-")[0]:
        return NotAllowed(_forbidden(message))
    return ModelSilent(
        f"there is no way to pod {pod} ({_first_line(message)}); "
        f"is it running? kubectl -n {namespace} get pod {pod}"
    )


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
