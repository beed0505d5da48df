"""A client of the API server for what the node itself asks: plain GETs, and lists to watch."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dev.cluster.network import API_SERVER


class Api:
    """Speaks as one of the users of `pki.CLIENTS`. Errors are urllib's, all of them OSError."""

    def __init__(self, pki: Path, user: str) -> None:
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(API_SERVER + path, context=self._tls, timeout=5) as response:
            return str(response.read(), "utf-8")

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def watch(self, path: str) -> Iterator[list[dict[str, Any]]]:
        """All objects at `path`, again after each change; ends when the server ends the watch."""
        listed = self.get_json(path)
        objects = {item["metadata"]["uid"]: item for item in listed["items"]}
        yield list(objects.values())
        url = f"{API_SERVER}{path}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
        with urllib.request.urlopen(url, context=self._tls, timeout=3600) as stream:
            for line in stream:
                event = json.loads(line)
                if event["type"] == "ERROR":  # the version is too old: list anew
                    return
                item = event["object"]
                if event["type"] == "DELETED":
                    objects.pop(item["metadata"]["uid"], None)
                else:
                    objects[item["metadata"]["uid"]] = item
                yield list(objects.values())
