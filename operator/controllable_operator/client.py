"""The few calls that the operator makes to the API server. Everything goes in and out as plain dicts."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import kubernetes
import urllib3

from controllable_operator.desired.common import MANAGER
from controllable_operator.errors import ApiError, Conflict, Forbidden, InvalidSpec, NotFound
from controllable_operator.kinds import Kind

Manifest = dict[str, Any]

_TIMEOUT = (5, 30)  # seconds to connect, seconds to answer
_ERRORS: dict[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 409: Conflict}


class Client:
    """Typed errors around `kubernetes.client.ApiClient`; safe to use from several threads."""

    def __init__(self, api: kubernetes.client.ApiClient) -> None:
        self._api = api

    @classmethod
    def from_environment(cls) -> "Client":
        """A client as the pod's ServiceAccount, or else as KUBECONFIG says."""
        kubernetes.config.load_config()
        return cls(kubernetes.client.ApiClient())

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object, or None where there is none."""
        try:
            return self._call("GET", kind.path(namespace, name))
        except NotFound:
            return None

    def list(self, kind: Kind, namespace: str | None, label_selector: str = "") -> list[Manifest]:
        """All objects of `kind` with these labels, with apiVersion and kind, which the server leaves out."""
        query = {"labelSelector": label_selector} if label_selector else {}
        items: Iterable[Manifest] = self._call("GET", kind.path(namespace), query=query)["items"]
        return [{"apiVersion": kind.api_version, "kind": kind.name} | item for item in items]

    def served(self, api_version: str) -> set[str] | None:
        """Plural names of what a group's version serves; None where there is no such group."""
        try:
            listed = self._call("GET", f"/apis/{api_version}")
        except NotFound:
            return None
        return {resource["name"] for resource in listed["resources"]}

    def apply(self, kind: Kind, manifest: Manifest, subresource: str | None = None) -> Manifest:
        """Server-side apply: what the manifest states is so afterwards, and what others state stays."""
        meta = manifest["metadata"]
        return self._call(
            "PATCH",
            kind.path(meta["namespace"], meta["name"], subresource),
            query={"fieldManager": MANAGER, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
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
            self._call("DELETE", kind.path(meta["namespace"], meta["name"]), body=options)
        except NotFound:
            return

    def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object.

        Raises:
            Conflict: it exists.
        """
        path = kind.path(manifest["metadata"]["namespace"])
        return self._call("POST", path, query={"fieldManager": MANAGER}, body=manifest)

    def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Merge `patch` into an object."""
        return self._call(
            "PATCH", kind.path(namespace, name), body=patch, content_type="application/merge-patch+json"
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
        subject: str = "",
    ) -> Manifest:
        try:
            request = self._api.param_serialize(
                method,
                f"{path}?{urlencode(query)}" if query else path,
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._api.call_api(*request, _request_timeout=_TIMEOUT)
            content = response.read()
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException) as error:
            raise ApiError(f"{method} {path}: the API server did not answer: {error}") from error
        if 200 <= response.status < 300:
            result: Manifest = json.loads(content)
            return result
        raise _error(
            response.status, content, response.headers.get("Retry-After"), subject or f"{method} {path}"
        )


def _error(status: int, content: bytes, retry_after: str | None, subject: str) -> ApiError | InvalidSpec:
    """The typed error for an answer that isn't a success; `subject` says what it was about."""
    try:
        answer = json.loads(content)
        message, causes = answer["message"], answer.get("details", {}).get("causes", [])
    except (ValueError, KeyError, TypeError, AttributeError):
        message, causes = content.decode(errors="replace")[:500] or f"HTTP status {status}", []
    message = f"{subject}: {message}"
    if status == 422:
        return InvalidSpec(message)
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NotFound(message, status)
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return _ERRORS.get(status, ApiError)(message, status, wait)
