"""The few calls that the operator makes to the API server. Everything goes in and out as plain dicts."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3

from controllable_operator.desired.common import MANAGER
from controllable_operator.errors import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidSpec,
    NotFound,
    NotLeading,
    QuotaExceeded,
)
from controllable_operator.kinds import Kind
from controllable_operator.metrics import API_REQUESTS

Manifest = dict[str, Any]

_TIMEOUT = (5, 30)  # seconds to connect, seconds to answer
# Objects in one answer to a list. All at once, a thousand Deployments take 100 MiB for a moment.
_PAGE = 200
# What the library raises when a token that is renewed on the disk can't be read at that moment.
_UNREADABLE = (OSError, kubernetes.config.ConfigException)
_ERRORS: dict[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 409: Conflict}


class Client:
    """Typed errors around `kubernetes.client.ApiClient`; safe to use from several threads.

    Args:
        may_write: asked before every write; where it says no, `NotLeading` is raised instead.
    """

    def __init__(
        self, api: kubernetes.client.ApiClient, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._api, self._may_write = api, may_write

    @classmethod
    def from_environment(cls) -> "Client":
        """A client as the pod's ServiceAccount, or else as KUBECONFIG says."""
        kubernetes.config.load_config()
        return cls(kubernetes.client.ApiClient())

    def authorization(self) -> str | None:
        """Today's value of the header of that name, None for one who shows a certificate.

        Raises:
            ApiError: the token can't be read.
        """
        try:
            return self._api.configuration.auth_settings().get("BearerToken", {}).get("value")
        except _UNREADABLE as error:
            raise ApiError(f"the token for the API server can't be read: {error}") from error

    def guarded(self, may_write: Callable[[], bool]) -> "Client":
        """The same client, for one who may write only while `may_write` says so."""
        return Client(self._api, may_write)

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object, or None where there is none."""
        try:
            return self._call("get", kind.plural, kind.path(namespace, name))
        except NotFound:
            return None

    def list(
        self, kind: Kind, namespace: str | None, label_selector: str, keep: Callable[[Manifest], Manifest]
    ) -> tuple[list[Manifest], str]:
        """All objects of `kind` with these labels, and the version of the cluster that has exactly them.

        `keep` says what to keep of an object; no more than a page of whole ones is held at a time.
        """
        items: list[Manifest] = []
        query = {"limit": str(_PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        while True:
            page = self._call("list", kind.plural, kind.path(namespace), query=query)
            items += map(keep, page["items"])
            if not page["metadata"].get("continue"):
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"]["continue"]

    def served(self, api_version: str) -> set[str] | None:
        """Plural names of what a group's version serves; None where there is no such group."""
        try:
            listed = self._call("get", "apis", f"/apis/{api_version}")
        except NotFound:
            return None
        return {resource["name"] for resource in listed["resources"]}

    def apply(self, kind: Kind, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply: what the manifest states is so afterwards, and what others state stays."""
        meta = manifest["metadata"]
        return self._call(
            "apply",
            f"{kind.plural}/{subresource}" if subresource else kind.plural,
            kind.path(meta["namespace"], meta["name"], subresource),
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            subject=f"{kind.name} {meta['name']}",
        )

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        """Delete exactly this object (not a successor of the same name); fine if it's gone already."""
        meta = manifest["metadata"]
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": meta["uid"]},
            "propagationPolicy": "Background",
        }
        try:
            self._call("delete", kind.plural, kind.path(meta["namespace"], meta["name"]), body=options)
        except NotFound:
            return

    def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object.

        Raises:
            Conflict: it exists.
        """
        path = kind.path(manifest["metadata"]["namespace"])
        return self._call("create", kind.plural, path, query={"fieldManager": MANAGER}, body=manifest)

    def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Replace an object that still has the version that the manifest names.

        Raises:
            Conflict: it has changed since.
        """
        meta = manifest["metadata"]
        return self._call("update", kind.plural, kind.path(meta["namespace"], meta["name"]), body=manifest)

    def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Merge `patch` into an object."""
        return self._call("patch", kind.plural, kind.path(namespace, name), body=patch)

    def _call(
        self,
        verb: str,
        resource: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        subject: str = "",
    ) -> Manifest:
        method, content_type = _METHODS[verb]
        if method != "GET" and not self._may_write():
            raise NotLeading(f"{method} {path}: not sent, as this operator leads no more")
        status = 0
        try:
            request = self._api.param_serialize(
                method,
                f"{path}?{urlencode(query)}" if query else path,
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=_yaml(body) if verb == "apply" else body,
                auth_settings=["BearerToken"],
            )
            response = self._api.call_api(*request, _request_timeout=_TIMEOUT)
            status, content = response.status, response.read()
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException, *_UNREADABLE) as error:
            raise ApiError(f"{method} {path}: the API server did not answer: {error}") from error
        finally:
            API_REQUESTS.labels(verb=verb, resource=resource, code=status).inc()
        if 200 <= status < 300:
            return _parsed(content, f"{method} {path}")
        raise _error(status, content, response.headers.get("Retry-After"), subject or f"{method} {path}")


# Verbs as the API server's own metrics have them.
_METHODS = {
    "get": ("GET", "application/json"),
    "list": ("GET", "application/json"),
    "apply": ("PATCH", "application/apply-patch+yaml"),
    "patch": ("PATCH", "application/merge-patch+json"),
    "create": ("POST", "application/json"),
    "update": ("PUT", "application/json"),
    "delete": ("DELETE", "application/json"),
}


def _parsed(content: bytes, subject: str) -> Manifest:
    try:
        result: Manifest = json.loads(content)
    except ValueError as error:  # cut off by something on the way
        raise ApiError(f"{subject}: the API server's answer is no JSON: {error}") from error
    return result


# Text beyond \uffff (an emoji in a label) as JSON escapes it.
_SURROGATE_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")


def _yaml(body: Manifest | None) -> str:
    """`body` in a form that is JSON and YAML, which knows all of JSON's escapes but pairs of surrogates."""
    return _SURROGATE_PAIR.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), json.dumps(body))


def _error(status: int, content: bytes, retry_after: str | None, subject: str) -> ApiError | InvalidSpec:
    """The typed error for an answer that isn't a success; `subject` says what it was about."""
    try:
        answer = json.loads(content)
        message, causes = answer["message"], answer.get("details", {}).get("causes", [])
    except (ValueError, KeyError, TypeError, AttributeError):
        message, causes = content.decode(errors="replace")[:500] or f"HTTP status {status}", []
    message = f"{subject}: {message}"
    # A field that a kind has not is no reason for server-side apply to say 422: it says 500.
    if status == 422 or "failed to create typed patch object" in message:
        return InvalidSpec(message)
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NotFound(message, status)
    if status == 403 and "exceeded quota" in message:
        return QuotaExceeded(message, status)
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return _ERRORS.get(status, ApiError)(message, status, wait)
