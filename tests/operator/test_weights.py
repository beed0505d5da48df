"""Where the weights come from and where they lie, in the pod's terms."""

from collections.abc import Callable
from typing import Any

import pytest
from controllable_operator.api import ControllableModel
from controllable_operator.cluster import Cluster
from controllable_operator.desired import desired, weights
from controllable_operator.errors import InvalidSpec
from controllable_operator.settings import Settings

MakeModel = Callable[..., ControllableModel]
DIGEST = "sha256:" + "a" * 64
CACHE = {"size": "60Gi", "storageClassName": "fast"}


@pytest.fixture
def pod(make_model: MakeModel, settings: Settings) -> Callable[..., dict[str, Any]]:
    """The pod of a model by `spec.model`."""

    def build(uri: str, **source: Any) -> dict[str, Any]:
        children = desired(make_model(uri=uri, model=source), settings, Cluster())
        deployment = next(child for child in children if child["kind"] == "Deployment")
        return dict(deployment["spec"]["template"]["spec"])

    return build


def secret_keys(pod: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Key and optional by variable, of what fetch takes from Secrets."""
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in pod["initContainers"][0]["env"]
        if "valueFrom" in entry
    }
    return {name: (found["key"], found.get("optional", False)) for name, found in references.items()}


def volume(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in pod["volumes"] if entry["name"] == name)


SECRETS = [
    ("hf://org/repo", {"HF_TOKEN": ("token", False)}),
    (
        "s3://bucket/nano",
        {
            "AWS_ACCESS_KEY_ID": ("access-key-id", True),
            "AWS_SECRET_ACCESS_KEY": ("secret-access-key", True),
            "AWS_ENDPOINT_URL": ("endpoint", True),
            "AWS_REGION": ("region", True),
        },
    ),
    (
        "https://host/nano.zip",
        {
            "CONTROLLABLE_FETCH_TOKEN": ("token", True),
            "CONTROLLABLE_FETCH_USERNAME": ("username", True),
            "CONTROLLABLE_FETCH_PASSWORD": ("password", True),
        },
    ),
]


@pytest.mark.parametrize(("uri", "keys"), SECRETS, ids=[uri for uri, _ in SECRETS])
def test_fetch_alone_gets_what_the_source_asks_for_and_by_reference(
    pod: Any, uri: str, keys: dict[str, Any]
) -> None:
    built = pod(uri, secretRef={"name": "mine"})
    assert secret_keys(built) == keys
    variables = [e for c in built["containers"] for e in c["env"]]
    assert not any("secretKeyRef" in e.get("valueFrom", {}) for e in variables)
    assert "mine" not in str(built["initContainers"][0]["args"])


def test_an_image_is_mounted_by_the_node_with_its_own_pull_secret(pod: Any) -> None:
    built = pod("oci://registry.example.com/models/nano:1", secretRef={"name": "pull"})
    assert volume(built, "sources")["image"] == {"reference": "registry.example.com/models/nano:1"}
    assert built["imagePullSecrets"] == [{"name": "pull"}]
    assert secret_keys(built) == {}
    for container in (built["initContainers"][0], built["containers"][0]):
        assert {"name": "sources", "mountPath": "/sources", "readOnly": True} in container["volumeMounts"]


def test_a_digest_is_checked_by_fetch(pod: Any) -> None:
    arguments = pod("s3://bucket/nano", digest=DIGEST)["initContainers"][0]["args"]
    assert arguments == ["fetch", "s3://bucket/nano", "--to", "/weights/model", "--digest", DIGEST]


def test_without_a_cache_weights_go_with_their_pod(pod: Any, make_model: MakeModel) -> None:
    assert volume(pod("hf://org/repo"), "weights") == {"name": "weights", "emptyDir": {}}
    assert weights.cache(make_model(uri="hf://org/repo")) is None


def test_a_cache_is_a_claim_of_the_model_that_all_pods_mount(pod: Any, make_model: MakeModel) -> None:
    claim = weights.cache(make_model(uri="hf://org/repo", model={"cache": CACHE}))
    assert claim is not None
    assert claim["metadata"]["name"] == "nano-weights"
    assert claim["metadata"]["ownerReferences"][0]["name"] == "nano"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "60Gi"}},
        "storageClassName": "fast",
    }
    built = pod("hf://org/repo", cache=CACHE)
    assert volume(built, "weights")["persistentVolumeClaim"] == {"claimName": "nano-weights"}


def test_a_cache_outlives_scaling_to_zero_and_suspension(make_model: MakeModel, settings: Settings) -> None:
    source = {"uri": "hf://org/repo", "cache": CACHE}
    for spec in ({"replicas": 0}, {"suspend": True}):
        kinds = [child["kind"] for child in desired(make_model(model=source, **spec), settings, Cluster())]
        assert kinds.index("PersistentVolumeClaim") < kinds.index("Deployment")


CHANGES: list[dict[str, Any]] = [{"uri": "hf://org/other"}, {"revision": "v2"}, {"digest": DIGEST}]


@pytest.mark.parametrize("change", CHANGES, ids=["uri", "revision", "digest"])
def test_in_a_cache_a_changed_source_never_takes_the_files_of_pods_that_still_serve(
    make_model: MakeModel, change: dict[str, Any]
) -> None:
    source = {"uri": "hf://org/repo", "cache": CACHE}
    before, after = make_model(model=source), make_model(model=source | change)
    assert weights.model_path(before) != weights.model_path(after)
    (fetch,) = weights.fetches(before)
    assert weights.model_path(before) in fetch.arguments


LAW = {"name": "law", "uri": "s3://adapters/law", "digest": DIGEST, "secretRef": {"name": "keys"}}
TAX = {"name": "tax", "uri": "pvc://adapters/tax"}
CIVIL = {"name": "civil", "uri": "pvc://adapters/deep/civil"}
SLOW = {"name": "slow", "budgetScale": "2"}


def mounted(container: dict[str, Any]) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


def test_each_adapter_with_weights_is_fetched_after_the_model_with_secrets_of_its_own(pod: Any) -> None:
    built = pod("hf://org/repo", secretRef={"name": "hf"}, adapters=[LAW, SLOW, TAX])
    model, law, tax = built["initContainers"]
    assert [model["name"], law["name"], tax["name"]] == ["fetch", "fetch-law", "fetch-tax"]
    assert law["args"] == [
        "fetch", "s3://adapters/law", "--to", "/weights/adapters/law", "--digest", DIGEST, "--adapter", "law",
    ]  # fmt: skip
    secrets = [{e["name"] for e in c["env"] if "valueFrom" in e} for c in (model, law, tax)]
    assert secrets == [{"HF_TOKEN"}, {v for v, _ in SECRETS[1][1].items()}, set()]


def test_a_claim_that_several_adapters_lie_on_is_mounted_once_for_fetch_and_engine(pod: Any) -> None:
    built = pod("hf://org/repo", adapters=[TAX, CIVIL])
    (claim,) = [v for v in built["volumes"] if v.get("persistentVolumeClaim")]
    assert claim["persistentVolumeClaim"] == {"claimName": "adapters", "readOnly": True}
    *_, civil = built["initContainers"]
    (root,) = [e["value"] for e in civil["env"] if e["name"] == "CONTROLLABLE_SOURCES_ROOT"]
    for container in (civil, built["containers"][0]):
        assert mounted(container)[claim["name"]] == root


def test_an_adapter_beside_its_model_takes_the_models_mount(pod: Any) -> None:
    built = pod("pvc://adapters/base", adapters=[TAX])
    assert [v["name"] for v in built["volumes"] if "persistentVolumeClaim" in v] == ["sources"]
    assert mounted(built["initContainers"][1])["sources"] == "/sources"


def test_images_of_adapters_are_mounted_by_the_node_with_their_pull_secrets(
    pod: Any, make_model: MakeModel
) -> None:
    images = [
        {"name": name, "uri": f"oci://registry/{name}:1", "secretRef": {"name": "pull"}}
        for name in ("law", "tax")
    ]
    built = pod("oci://registry/base:1", secretRef={"name": "pull"}, adapters=images)
    references = [v["image"]["reference"] for v in built["volumes"] if "image" in v]
    assert references == ["registry/base:1", "registry/law:1", "registry/tax:1"]
    assert built["imagePullSecrets"] == [{"name": "pull"}]
    left = {"spec": {"template": {"spec": {"volumes": built["volumes"][:2]}}}}
    with pytest.raises(InvalidSpec, match="oci://registry/tax:1: this cluster has no image volumes"):
        weights.check_mounted(make_model(uri="hf://org/repo", model={"adapters": images[1:]}), left)


def test_a_cache_holds_adapters_too_and_no_changed_one_takes_the_files_of_pods_that_still_serve(
    make_model: MakeModel,
) -> None:
    def path(adapter: dict[str, Any]) -> str:
        model = make_model(model={"uri": "hf://org/repo", "cache": CACHE, "adapters": [adapter]})
        _, fetch = weights.fetches(model)
        assert "--make-room" in fetch.arguments
        found = weights.adapter_path(model, model.spec.model.adapters[0])
        assert found in fetch.arguments
        return str(found)

    assert len({path(LAW), path(LAW | {"digest": "sha256:" + "b" * 64}), path(TAX)}) == 3


def test_where_the_cluster_leaves_image_volumes_out_the_message_says_what_is_missing(
    make_model: MakeModel,
) -> None:
    left = {"spec": {"template": {"spec": {"volumes": [{"name": "weights", "emptyDir": {}}]}}}}
    with pytest.raises(InvalidSpec, match="feature gate ImageVolume on API server and kubelets"):
        weights.check_mounted(make_model(uri="oci://host/nano:1"), left)
    weights.check_mounted(make_model(uri="hf://org/repo"), left)
