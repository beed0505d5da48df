"""Where the weights come from and where they lie: fetch's arguments and secrets, volumes, the cache."""

from dataclasses import dataclass
from typing import Any

from controllable_operator.api import Adapter, ControllableModel, Source
from controllable_operator.desired.common import content_hash, metadata
from controllable_operator.errors import InvalidSpec

Manifest = dict[str, Any]

FETCH = "fetch"

_WEIGHTS_DIR = "/weights"
_WEIGHTS, _SOURCES = "weights", "sources"

# Environment variables of fetch, and the keys of the Secret that they come from.
_SECRETS = {
    "hf": {"HF_TOKEN": "token"},
    "s3": {
        "AWS_ACCESS_KEY_ID": "access-key-id",
        "AWS_SECRET_ACCESS_KEY": "secret-access-key",
        "AWS_ENDPOINT_URL": "endpoint",
        "AWS_REGION": "region",
    },
    "https": {
        "CONTROLLABLE_FETCH_TOKEN": "token",
        "CONTROLLABLE_FETCH_USERNAME": "username",
        "CONTROLLABLE_FETCH_PASSWORD": "password",
    },
}


@dataclass(frozen=True)
class Fetch:
    """An init container that brings one folder. environment: what of it is secret is given by reference."""

    container: str
    arguments: list[str]
    environment: list[Manifest]


def fetches(model: ControllableModel) -> list[Fetch]:
    """What brings the model, and then each of its adapters that has weights."""
    source = model.spec.model
    brought = [Fetch(FETCH, _arguments(model, source, model_path(model)), _environment(model, source))]
    for adapter in source.adapters:
        if path := adapter_path(model, adapter):
            arguments = [*_arguments(model, adapter, path), "--adapter", adapter.name]
            brought.append(Fetch(f"{FETCH}-{adapter.name}", arguments, _environment(model, adapter)))
    return brought


def fetches_weights(container: str) -> bool:
    """Whether the container of this name is one of those."""
    return container == FETCH or container.startswith(f"{FETCH}-")


def model_path(model: ControllableModel) -> str:
    """Where the engine finds the model."""
    return _path(model, model.spec.model, "model")


def adapter_path(model: ControllableModel, adapter: Adapter) -> str | None:
    """Where the engine finds an adapter's weights, None where it has none."""
    return _path(model, adapter, f"adapters/{adapter.name}") if adapter.uri else None


def _path(model: ControllableModel, source: Source, alone: str) -> str:
    """Where a source's files lie: in `alone` of the pod's own volume, or in the cache.

    In a cache every source has a folder of its own: while a change of it rolls out, pods read both.
    """
    if model.spec.model.cache is None:
        return f"{_WEIGHTS_DIR}/{alone}"
    return f"{_WEIGHTS_DIR}/{content_hash([source.uri, source.revision, source.digest])}"


def _arguments(model: ControllableModel, source: Source, path: str) -> list[str]:
    """The command line of fetch, which never holds a secret."""
    revision = ["--revision", source.revision] if source.revision else []
    digest = ["--digest", source.digest] if source.digest else []
    room = ["--make-room"] if model.spec.model.cache else []
    return ["fetch", str(source.uri), "--to", path, *revision, *digest, *room]


def _environment(model: ControllableModel, source: Source) -> list[Manifest]:
    """What fetch is told besides: secrets, by reference, and where a claim or image is mounted."""
    variables: list[Manifest] = []
    keys = _SECRETS.get(_parts(source)[0], {})
    if source.secret_ref:
        variables += [
            {
                "name": variable,
                # A server asks for some of them only. Where one is missing, fetch says so with its name.
                "valueFrom": {
                    "secretKeyRef": {"name": source.secret_ref.name, "key": key}
                    | ({"optional": True} if len(keys) > 1 else {})
                },
            }
            for variable, key in keys.items()
        ]
    if name := _volume_name(model, source):
        variables.append({"name": "CONTROLLABLE_SOURCES_ROOT", "value": f"/{name}"})
    return variables


def mounts(model: ControllableModel, *, read_only: bool) -> list[Manifest]:
    """Mounts of a container that writes the weights, or reads them."""
    weights = {"name": _WEIGHTS, "mountPath": _WEIGHTS_DIR} | ({"readOnly": True} if read_only else {})
    # The engine's container has the sources too: fetch leaves links to them instead of a second copy.
    return [
        weights,
        *({"name": name, "mountPath": f"/{name}", "readOnly": True} for name in _volumes(model)),
    ]


def volumes(model: ControllableModel) -> list[Manifest]:
    """The volumes behind the mounts."""
    cache = {"persistentVolumeClaim": {"claimName": cache_name(model)}}
    weights = {"name": _WEIGHTS} | ({"emptyDir": {}} if model.spec.model.cache is None else cache)
    return [weights, *({"name": name} | volume for name, volume in _volumes(model).items())]


def pull_secrets(model: ControllableModel) -> list[Manifest]:
    """imagePullSecrets of the pod: what comes from oci:// is pulled by the node."""
    images = [source for source in _sources(model) if _parts(source)[0] == "oci"]
    return [{"name": n} for n in dict.fromkeys(s.secret_ref.name for s in images if s.secret_ref)]


def cache_name(model: ControllableModel) -> str:
    """Name of the claim that keeps the weights."""
    return f"{model.metadata.name}-weights"


def cache(model: ControllableModel) -> Manifest | None:
    """The PersistentVolumeClaim manifest, None where the model has no cache."""
    asked = model.spec.model.cache
    if asked is None:
        return None
    spec: Manifest = {
        "accessModes": list(asked.access_modes),
        "resources": {"requests": {"storage": asked.size}},
    }
    if asked.storage_class_name is not None:
        spec["storageClassName"] = asked.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(model, cache_name(model)),
        "spec": spec,
    }


def check_mounted(model: ControllableModel, deployment: Manifest) -> None:
    """Refuse a Deployment that was written with an image volume and came back without.

    Raises:
        InvalidSpec: the API server knows no image volumes, and silently leaves out what it doesn't know.
    """
    names = {volume["name"] for volume in deployment["spec"]["template"]["spec"].get("volumes", [])}
    lost = [s for s in _sources(model) if _parts(s)[0] == "oci" and _volume_name(model, s) not in names]
    if lost:
        raise InvalidSpec(
            f"spec.model, {lost[0].uri}: this cluster has no image volumes, which oci:// needs: take "
            "Kubernetes 1.35, or 1.34 with the feature gate ImageVolume on API server and kubelets, or "
            "another source"
        )


def _sources(model: ControllableModel) -> list[Source]:
    """The model, and its adapters that have weights."""
    return [model.spec.model, *(adapter for adapter in model.spec.model.adapters if adapter.uri)]


def _volumes(model: ControllableModel) -> dict[str, Manifest]:
    """The volumes that something is read from where it isn't downloaded, each of them once, by name."""
    named = ((_volume_name(model, source), _volume(source)) for source in _sources(model))
    return {name: volume for name, volume in named if name and volume}


def _volume_name(model: ControllableModel, source: Source) -> str | None:
    """By what it holds: links in a cache lead there, and pods of several revisions share them."""
    volume = _volume(source)
    if volume is None:
        return None
    return _SOURCES if volume == _volume(model.spec.model) else f"{_SOURCES}-{content_hash(volume)}"


def _volume(source: Source) -> Manifest | None:
    scheme, rest = _parts(source)
    if scheme == "pvc":
        return {"persistentVolumeClaim": {"claimName": rest.partition("/")[0], "readOnly": True}}
    return {"image": {"reference": rest}} if scheme == "oci" else None


def _parts(source: Source) -> tuple[str, str]:
    scheme, _, rest = str(source.uri).partition("://")
    return scheme, rest
