"""Where the weights come from and where they lie: fetch's arguments and secrets, volumes, the cache."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import content_hash, metadata
from controllable_operator.errors import InvalidSpec

Manifest = dict[str, Any]

_WEIGHTS_DIR = "/weights"
_SOURCES_DIR = "/sources"
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


def model_path(model: ControllableModel) -> str:
    """Where the engine finds the model.

    In a cache every source has a folder of its own: while a change of it rolls out, pods read both.
    """
    source = model.spec.model
    if source.cache is None:
        return f"{_WEIGHTS_DIR}/model"
    return f"{_WEIGHTS_DIR}/{content_hash([source.uri, source.revision, source.digest])}"


def fetch_arguments(model: ControllableModel) -> list[str]:
    """The command line of fetch, which never holds a secret."""
    source = model.spec.model
    revision = ["--revision", source.revision] if source.revision else []
    digest = ["--digest", source.digest] if source.digest else []
    room = ["--make-room"] if source.cache else []
    return ["fetch", source.uri, "--to", model_path(model), *revision, *digest, *room]


def fetch_environment(model: ControllableModel) -> list[Manifest]:
    """What fetch is told besides: secrets, by reference, and where a claim or image is mounted."""
    source, (scheme, _) = model.spec.model, _parts(model)
    variables: list[Manifest] = []
    keys = _SECRETS.get(scheme, {})
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
    if scheme in ("pvc", "oci"):
        variables.append({"name": "CONTROLLABLE_SOURCES_ROOT", "value": _SOURCES_DIR})
    return variables


def mounts(model: ControllableModel, *, read_only: bool) -> list[Manifest]:
    """Mounts of a container that writes the weights, or reads them."""
    weights = {"name": _WEIGHTS, "mountPath": _WEIGHTS_DIR} | ({"readOnly": True} if read_only else {})
    # The engine's container has the source too: fetch leaves links to it instead of a second copy.
    source = {"name": _SOURCES, "mountPath": _SOURCES_DIR, "readOnly": True}
    return [weights, source] if _source(model) else [weights]


def volumes(model: ControllableModel) -> list[Manifest]:
    """The volumes behind the mounts."""
    cache = {"persistentVolumeClaim": {"claimName": cache_name(model)}}
    weights = {"name": _WEIGHTS} | ({"emptyDir": {}} if model.spec.model.cache is None else cache)
    source = _source(model)
    return [weights, {"name": _SOURCES} | source] if source else [weights]


def pull_secrets(model: ControllableModel) -> list[Manifest]:
    """imagePullSecrets of the pod: an oci:// model is pulled by the node."""
    reference = model.spec.model.secret_ref
    return [{"name": reference.name}] if reference and _parts(model)[0] == "oci" else []


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
    if _parts(model)[0] == "oci" and _SOURCES not in names:
        raise InvalidSpec(
            "spec.model.uri: this cluster has no image volumes, which oci:// needs: take Kubernetes 1.35, or "
            "1.34 with the feature gate ImageVolume on API server and kubelets, or another source"
        )


def _source(model: ControllableModel) -> Manifest | None:
    """The volume that the model is read from where it isn't downloaded."""
    scheme, rest = _parts(model)
    if scheme == "pvc":
        return {"persistentVolumeClaim": {"claimName": rest.partition("/")[0], "readOnly": True}}
    return {"image": {"reference": rest}} if scheme == "oci" else None


def _parts(model: ControllableModel) -> tuple[str, str]:
    scheme, _, rest = model.spec.model.uri.partition("://")
    return scheme, rest
