"""Definitions of others' kinds, as far as the operator writes them, and a server of pods' metrics.

The definitions know the fields that we state and no others, so the API server refuses what the real ones
(KEDA 2.21, Prometheus operator 0.85, Gateway API 1.3) would not know either.
"""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "format": "int32"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
DURATION: Schema = {"type": "string", "pattern": r"^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$"}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _definition(group: str, version: str, kind: str, plural: str, spec: Schema) -> dict[str, Any]:
    open_ended = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    root = _object(("spec",), apiVersion=TEXT, kind=TEXT, metadata={"type": "object"}, spec=spec)
    root["properties"]["status"] = open_ended
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


SCALED_OBJECTS = _definition(
    *("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    _object(
        ("scaleTargetRef", "triggers"),
        scaleTargetRef=_object(("name",), apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount=WHOLE,
        maxReplicaCount=WHOLE,
        triggers=_list(_object(("metadata", "type"), type=TEXT, name=TEXT, metricType=TEXT, metadata=TEXTS)),
    ),
)
POD_MONITORS = _definition(
    *("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    _object(
        ("selector",),
        selector=_object(matchLabels=TEXTS),
        podTargetLabels=_list(TEXT),
        podMetricsEndpoints=_list(_object(port=TEXT, path=TEXT, interval=DURATION)),
    ),
)
PROMETHEUS_RULES = _definition(
    *("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
    _object(
        groups=_list(
            _object(
                ("name",),
                name=TEXT,
                interval=DURATION,
                rules=_list(
                    _object(
                        ("expr",),
                        record=TEXT,
                        alert=TEXT,
                        expr={
                            "x-kubernetes-int-or-string": True,
                            "anyOf": [{"type": "integer"}, {"type": "string"}],
                        },
                        labels=TEXTS,
                        annotations=TEXTS,
                        **{"for": DURATION},
                    )
                ),
            )
            | {"x-kubernetes-map-type": "granular"}
        )
        | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    ),
)

_NAMED = _object(("name",), name=TEXT, namespace=TEXT, port=WHOLE, weight=WHOLE)
HTTP_ROUTES = _definition(
    *("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    _object(parentRefs=_list(_NAMED), hostnames=_list(TEXT), rules=_list(_object(backendRefs=_list(_NAMED)))),
)
# Groups under k8s.io want to know who approved a definition.
HTTP_ROUTES["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test's"}


class PodMetrics:
    """custom.metrics.k8s.io/v1beta2: every pod of a selector has the same value of every metric.

    Args:
        pods: names of the pods of a namespace with these labels.
        folder: for the certificate.
        address: where the API server reaches this process.
    """

    NAME = "v1beta2.custom.metrics.k8s.io"

    def __init__(self, pods: Callable[[str, str], list[str]], folder: Path, address: str) -> None:
        self.value, self.address, self._pods = "0", address, pods
        handler = type("Handler", (_Handler,), {"metrics": self})
        self._server = ThreadingHTTPServer((address, 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder, address))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def manifests(self, namespace: str) -> list[dict[str, Any]]:
        """What makes the API server ask this process."""
        meta = {"name": "pod-metrics", "namespace": namespace}
        port = self._server.server_address[1]
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": meta | {"labels": {"kubernetes.io/service-name": "pod-metrics"}},
                "addressType": "IPv4",
                "ports": [{"name": "https", "port": port}],
                "endpoints": [{"addresses": [self.address]}],
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": self.NAME},
                "spec": {
                    "group": "custom.metrics.k8s.io",
                    "version": "v1beta2",
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,
                    "service": {"name": "pod-metrics", "namespace": namespace, "port": 443},
                },
            },
        ]

    def answer(self, path: str) -> dict[str, Any] | None:
        """The document for a path, None where there is none."""
        url = urlsplit(path)
        parts = url.path.strip("/").split("/")
        if parts == ["apis", "custom.metrics.k8s.io", "v1beta2"]:
            listed = {"name": "pods/controllable_requests_waiting", "namespaced": True, "verbs": ["get"]}
            listed |= {"kind": "MetricValueList", "singularName": ""}
            document = {"kind": "APIResourceList", "apiVersion": "v1", "resources": [listed]}
            return document | {"groupVersion": "custom.metrics.k8s.io/v1beta2"}
        if len(parts) != 8 or parts[5] != "pods":
            return None
        namespace, metric = parts[4], parts[7]
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "kind": "MetricValueList",
            "apiVersion": "custom.metrics.k8s.io/v1beta2",
            "metadata": {},
            "items": [
                {
                    "describedObject": {
                        "kind": "Pod",
                        "namespace": namespace,
                        "name": pod,
                        "apiVersion": "/v1",
                    },
                    "metric": {"name": metric, "selector": None},
                    "timestamp": now,
                    "value": self.value,
                }
                for pod in self._pods(namespace, selector)
            ],
        }


class _Handler(BaseHTTPRequestHandler):
    metrics: PodMetrics

    def do_GET(self) -> None:
        document = self.metrics.answer(self.path)
        body = json.dumps(document or {}).encode()
        self.send_response(404 if document is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def _certificate(folder: Path, address: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pod-metrics")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path = folder / "pod-metrics.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path
