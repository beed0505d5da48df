"""A ControllableModel manifest, read without a cluster: what to fetch, and the engine.json it means.

In a cluster the operator does this; here the same resource runs on one machine. Of fields that
only a cluster can honour (replicas, rollout, networkPolicy, resources, image), and of what GPUs are asked for
but their number, no notice is taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controllable_inference.serving.config import EngineConfig
from controllable_inference.serving.errors import ConfigError

API_VERSION = "serving.controllable.dev/v1alpha1"
KIND = "ControllableModel"

# The defaults of the custom resource, as its schema states them.
_CONTROL_DEFAULTS: dict[str, Any] = {
    "pathPruning": {"enabled": True, "maxPaths": 16},
    "computeBudget": {"enabled": True, "minCoefficient": "0", "maxCoefficient": "2", "maxTokens": None},
    "policy": {"enabled": True},
    "trace": "summary",
}
_SERVING_DEFAULTS: dict[str, Any] = {
    "maxConcurrentRequests": 64,
    "queue": {"size": 256, "timeout": "30s"},
    "drainTimeout": "60s",
}
_ADAPTER_DEFAULTS: dict[str, Any] = {"specialTokens": [], "budgetScale": "1"}
_SPEC_FIELDS = {
    "": {
        "model",
        "control",
        "serving",
        "gpu",
        "replicas",
        "suspend",
        "scaling",
        "rollout",
        "monitoring",
        "networkPolicy",
        "podTemplate",
    },
    "model": {"uri", "revision", "digest", "secretRef", "precision", "cache", "adapters"},
    "model.adapters": {
        "name",
        "uri",
        "revision",
        "digest",
        "secretRef",
        "domain",
        "specialTokens",
        "budgetScale",
    },
    "serving": {"engine", "image", "maxConcurrentRequests", "queue", "drainTimeout", "resources"},
    "serving.queue": {"size", "timeout"},
}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DURATION_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Adapter:
    """One of spec.model.adapters. uri: None where it has no weights; settings: the rest, for engine.json."""

    name: str
    uri: str | None
    revision: str | None
    digest: str | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """The part of a ControllableModel that one machine needs."""

    name: str
    uri: str
    revision: str | None
    digest: str | None
    precision: str
    engine: str
    tensor_parallel: int
    adapters: tuple[Adapter, ...]
    control: dict[str, Any]
    serving: dict[str, Any]

    def engine_config(
        self, model_path: str | Path, adapter_paths: Mapping[str, Path] | None = None
    ) -> EngineConfig:
        """The engine.json for weights that lie in `model_path`, and those of adapters by their names."""
        paths = {name: str(path) for name, path in (adapter_paths or {}).items()}
        adapters = [adapter.settings | {"path": paths.get(adapter.name)} for adapter in self.adapters]
        model = {
            "name": self.name,
            "path": str(model_path),
            "precision": self.precision,
            "engine": self.engine,
            "tensorParallel": self.tensor_parallel,
        }
        return EngineConfig.parse(
            {
                "model": model | ({"adapters": adapters} if adapters else {}),
                "control": self.control,
                "serving": self.serving,
            },
            f"{KIND} {self.name}",
        )


def read_manifest(path: Path) -> Manifest:
    """Read the first ControllableModel of a YAML file; ConfigError where there is none or it is wrong."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == KIND:
            return parse_manifest(document)
    raise ConfigError(f"{path}: holds no {KIND}", "`serve` takes the manifest that `kubectl apply` takes")


def parse_manifest(document: Mapping[str, Any]) -> Manifest:
    """Turn a decoded resource into a Manifest, defaults filled in; ConfigError names the field."""
    if document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        found = f"{document.get('apiVersion')} {document.get('kind')}"
        raise ConfigError(f"not a {KIND}: {found}", f"apiVersion must be {API_VERSION}")
    name = _mapping(document, "metadata").get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError("metadata.name: required")
    spec = _mapping(document, "spec")
    _refuse_unknown(spec, "")
    model = _mapping(spec, "model", "spec.")
    _refuse_unknown(model, "model")
    uri = model.get("uri")
    if not isinstance(uri, str) or not uri:
        raise ConfigError("spec.model.uri: required", "for example image:///models/nano or hf://org/repo")
    serving = _mapping(spec, "serving", "spec.")
    _refuse_unknown(serving, "serving")
    _refuse_unknown(_mapping(serving, "queue", "spec.serving."), "serving.queue")
    manifest = Manifest(
        name=name,
        uri=uri,
        revision=model.get("revision"),
        digest=model.get("digest"),
        precision=model.get("precision", "auto"),
        engine=serving.get("engine", "auto"),
        tensor_parallel=_mapping(spec, "gpu", "spec.").get("count") or 1,
        adapters=_adapters(model, name),
        control=_merged(_CONTROL_DEFAULTS, _mapping(spec, "control", "spec.")),
        serving=_serving_section(_merged(_SERVING_DEFAULTS, serving)),
    )
    manifest.engine_config("unknown-yet")  # so that a bad manifest fails here, before anything is fetched
    return manifest


def parse_duration(text: Any, field: str) -> float:
    """Seconds of a Kubernetes duration such as `30s`, `1m30s` or `500ms`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"{field}: not a duration: {text!r}", "write 30s, 1m30s or 500ms")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)


def _adapters(model: Mapping[str, Any], model_name: str) -> tuple[Adapter, ...]:
    given = model.get("adapters") or []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise ConfigError(f"spec.model.adapters: must be a list of objects, got {given!r}")
    adapters: dict[str, Adapter] = {}
    for at, each in enumerate(given):
        _refuse_unknown(each, "model.adapters")
        field, name = f"spec.model.adapters.{at}.name", each.get("name")
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            raise ConfigError(f"{field}: must hold only lower-case letters, digits and '-', got {name!r}")
        if name in adapters or name == model_name:
            raise ConfigError(f"{field}: {name!r} is the model's name, or another adapter's")
        settings = {"name": name, "domain": each.get("domain", name)} | {
            key: each.get(key, default) for key, default in _ADAPTER_DEFAULTS.items()
        }
        adapters[name] = Adapter(name, each.get("uri"), each.get("revision"), each.get("digest"), settings)
    return tuple(adapters.values())


def _serving_section(serving: Mapping[str, Any]) -> dict[str, Any]:
    queue = serving["queue"]
    return {
        "maxConcurrentRequests": serving["maxConcurrentRequests"],
        "queue": {
            "size": queue["size"],
            "timeoutSeconds": parse_duration(queue["timeout"], "spec.serving.queue.timeout"),
        },
        "drainTimeoutSeconds": parse_duration(serving["drainTimeout"], "spec.serving.drainTimeout"),
    }


def _mapping(parent: Mapping[str, Any], key: str, prefix: str = "") -> Mapping[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{prefix}{key}: must be an object, got {value!r}")
    return value


def _refuse_unknown(section: Mapping[str, Any], path: str) -> None:
    for key in section:
        if key not in _SPEC_FIELDS[path]:
            raise ConfigError(f"spec.{path + '.' if path else ''}{key}: unknown field")


def _merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `defaults`, object by object; unknown fields stay, for validation to refuse."""
    merged = {**defaults, **given}
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(merged[key], dict):
            merged[key] = _merged(default, merged[key])
    return merged
