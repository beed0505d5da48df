"""What the API server accepts, what it refuses, and whether the refusal says which field and why."""

import json
from pathlib import Path
from typing import Any

import pytest
from cluster_fixtures import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definitions")]

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
HF = "hf://org/repo"
NANO = "image:///models/nano"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def manifest(spec: dict[str, Any], name: str = "nano") -> str:
    return json.dumps(
        {
            "apiVersion": "serving.controllable.dev/v1alpha1",
            "kind": "ControllableModel",
            "metadata": {"name": name},
            "spec": {"model": {"uri": NANO}} | spec,
        }
    )


def refusal(cluster: Kubectl, text: str) -> str:
    result = cluster.run("create", "--dry-run=server", "--filename=-", stdin=text)
    assert result.returncode != 0, "accepted"
    return result.stderr


def model(**fields: Any) -> dict[str, Any]:
    return {"model": fields}


def adapters(*given: dict[str, Any]) -> dict[str, Any]:
    return {"model": {"uri": NANO, "adapters": list(given)}}


def peer(**fields: Any) -> dict[str, Any]:
    return {"networkPolicy": {"allowFrom": [fields]}}


REFUSED = [
    (model(uri="ftp://host/x"), "spec.model.uri", "must start with hf://"),
    (model(uri="image://models/nano"), "spec.model.uri", "must start with hf://"),
    (model(uri="s3://Bucket/x"), "spec.model.uri", "a bucket and a prefix"),
    (model(uri="s3://bucket/x?versionId=1"), "spec.model.uri", "a bucket and a prefix"),
    (model(uri="https://host/folder/"), "spec.model.uri", "must name an archive"),
    (model(uri="https://me:secret@host/x.zip"), "spec.model.uri", "credentials belong in secretRef"),
    (model(uri="https://host/x.zip?token=secret"), "spec.model.uri", "credentials belong in secretRef"),
    (model(uri="http://host/x.zip"), "spec.model.digest", "http:// needs a digest"),
    (
        model(uri="http://host/x.zip", digest=DIGEST, secretRef={"name": "x"}),
        "spec.model.secretRef",
        "take https://",
    ),
    (model(uri="oci://"), "spec.model.uri", "followed by an image"),
    (model(uri="oci://host/x:1", digest=DIGEST), "spec.model.digest", "with @sha256"),
    (model(uri=NANO, digest=DIGEST), "spec.model.digest", "digest is not for images"),
    (model(uri=HF, digest="sha256:abc"), "spec.model.digest", "should match"),
    (model(uri="s3://bucket/x", revision="abc"), "spec.model.revision", "pin it with digest"),
    (model(uri="pvc://claim/x", secretRef={"name": "x"}), "spec.model.secretRef", "needs none"),
    (model(uri="pvc://claim/x", cache={"size": "1Gi"}), "spec.model.cache", "read where it is"),
    (model(uri=HF, cache={}), "spec.model.cache.size", "Required value"),
    (model(uri=HF, cache={"size": "lots"}), "spec.model.cache.size", "should match"),
    (
        model(uri=HF, cache={"size": "1Gi", "accessModes": ["ReadOnlyMany"]}),
        "spec.model.cache.accessModes[0]",
        '"ReadWriteMany"',
    ),
    (model(uri="hf://only-a-name"), "spec.model.uri", "organisation/repository"),
    (model(uri="pvc://Upper/x"), "spec.model.uri", "claim's name and a path"),
    (model(uri="image:///"), "spec.model.uri", "followed by a folder"),
    (model(uri="pvc://claim/../x"), "spec.model.uri", "must not climb"),
    (model(uri=NANO, secretRef={"name": "x"}), "spec.model.secretRef", "secretRef is for what is downloaded"),
    (model(uri=NANO, revision="abc"), "spec.model.revision", "revision is for hf:// only"),
    (model(uri=HF, revision="-x"), "spec.model.revision", "should match"),
    (model(uri=NANO, precision="int4"), "spec.model.precision", '"bfloat16"'),
    ({"model": {}}, "spec.model.uri", "Required value"),
    (adapters({"budgetScale": "2"}), "spec.model.adapters[0].name", "Required value"),
    (adapters({"name": "Law", "budgetScale": "2"}), "spec.model.adapters[0].name", "must be a DNS label"),
    (adapters({"name": "nano", "budgetScale": "2"}), "spec.model.adapters", "have the model's own name"),
    (
        adapters({"name": "law", "uri": HF}, {"name": "law", "budgetScale": "2"}),
        "spec.model.adapters[1]",
        "Duplicate value",
    ),
    (
        adapters({"name": "law", "uri": HF}) | {"gpu": {"count": 2, "nvlink": "preferred"}},
        "spec.model.adapters",
        "a model that several GPUs share takes none",
    ),
    (adapters({"name": "law"}), "spec.model.adapters[0]", "changes nothing without a uri"),
    (adapters({"name": "law", "digest": DIGEST}), "spec.model.adapters[0].uri", "and there is none"),
    (adapters({"name": "law", "uri": "ftp://x/y"}), "spec.model.adapters[0].uri", "must start with hf://"),
    (
        adapters({"name": "law", "uri": "pvc://claim/x", "secretRef": {"name": "x"}}),
        "spec.model.adapters[0].secretRef",
        "needs none",
    ),
    (adapters({"name": "law", "budgetScale": "0.0"}), "adapters[0].budgetScale", "greater than 0"),
    (adapters({"name": "law", "budgetScale": "-1"}), "adapters[0].budgetScale", "should match"),
    (adapters({"name": "law", "specialTokens": [" "]}), "adapters[0].specialTokens", "white space"),
    (
        adapters({"name": "law", "specialTokens": ["a", "a"]}),
        "adapters[0].specialTokens[1]",
        "Duplicate value",
    ),
    (
        {"control": {"computeBudget": {"minCoefficient": "1.5", "maxCoefficient": "1"}}},
        "spec.control.computeBudget.minCoefficient",
        "must not be greater than maxCoefficient",
    ),
    ({"control": {"computeBudget": {"maxCoefficient": "2.5"}}}, "maxCoefficient", "should match"),
    (
        {"control": {"pathPruning": {"threshold": "1.3"}}},
        "spec.control.pathPruning.threshold",
        "should match",
    ),
    (
        {"control": {"pathPruning": {"threshold": 0.3}}},
        "spec.control.pathPruning.threshold",
        "must be of type string",
    ),
    (
        {"control": {"pathPruning": {"maxPaths": 0}}},
        "spec.control.pathPruning.maxPaths",
        "greater than or equal to 1",
    ),
    ({"control": {"trace": "verbose"}}, "spec.control.trace", '"summary"'),
    ({"serving": {"queue": {"timeout": "0s"}}}, "spec.serving.queue.timeout", "longer than 0s"),
    ({"serving": {"queue": {"timeout": "30"}}}, "spec.serving.queue.timeout", "should match"),
    ({"serving": {"drainTimeout": "2h"}}, "spec.serving.drainTimeout", "at most 1h"),
    (
        {"serving": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
        "spec.serving.resources",
        "ask for GPUs with spec.gpu.count",
    ),
    (
        {"serving": {"resources": {"requests": {"cpu": "lots"}}}},
        "spec.serving.resources.requests.cpu",
        "should match",
    ),
    ({"gpu": {"count": 2}}, "spec.gpu.nvlink", "count of more than 1 needs nvlink"),
    ({"gpu": {"count": 1, "nvlink": "required"}}, "spec.gpu.nvlink", "nvlink is between GPUs"),
    ({"gpu": {"product": "H200"}}, "spec.gpu.count", "product, memory and architecture are of GPUs"),
    ({"gpu": {"count": 17, "nvlink": "preferred"}}, "spec.gpu.count", "less than or equal to 16"),
    ({"gpu": {"count": 1, "memory": "much"}}, "spec.gpu.memory", "should match"),
    ({"gpu": {"count": 1, "memory": "1E400"}}, "spec.gpu.memory", "should match"),
    ({"gpu": {"count": 1, "architecture": "Newton"}}, "spec.gpu.architecture", '"Hopper"'),
    ({"replicas": -1}, "spec.replicas", "greater than or equal to 0"),
    (
        {"scaling": {"minReplicas": 3, "maxReplicas": 2}},
        "spec.scaling.minReplicas",
        "must not be greater than maxReplicas",
    ),
    (
        {"scaling": {"minReplicas": 3, "maxGPUs": 2}, "gpu": {"count": 1}},
        "spec.scaling.maxGPUs",
        "enough for one replica, and for scaling.minReplicas",
    ),
    ({"rollout": {"steps": [50, 10]}}, "spec.rollout.steps", "must grow from one to the next"),
    ({"rollout": {"steps": [10, 10]}}, "spec.rollout.steps", "must grow from one to the next"),
    ({"rollout": {"steps": [100]}}, "spec.rollout.steps[0]", "less than or equal to 99"),
    ({"rollout": {"interval": "500ms"}}, "spec.rollout.interval", "must be from 1s to 24h"),
    ({"rollout": {"maxErrorRate": "1.5"}}, "spec.rollout.maxErrorRate", "should match"),
    ({"rollout": {"maxLatencyP99": "0s"}}, "spec.rollout.maxLatencyP99", "longer than 0s"),
    ({"rollout": {"gateway": {"name": "Public"}}}, "spec.rollout.gateway.name", "should match"),
    (
        {"scaling": {"targets": {"latencyP99": "0s"}}},
        "spec.scaling.targets.latencyP99",
        "longer than 0s",
    ),
    (
        {"monitoring": {"slo": {"pathPruningRate": {"min": "0.7", "max": "0.6"}}}},
        "spec.monitoring.slo.pathPruningRate.min",
        "min must not be greater than max",
    ),
    (
        {"monitoring": {"labels": {"app.kubernetes.io/name": "x"}}},
        "spec.monitoring.labels",
        "the operator's own",
    ),
    (
        {"podTemplate": {"metadata": {"labels": {"app.kubernetes.io/instance": "x"}}}},
        "spec.podTemplate.metadata.labels",
        "tell whose pods these are",
    ),
    (
        {"podTemplate": {"metadata": {"annotations": {"serving.controllable.dev/template-hash": "x"}}}},
        "spec.podTemplate.metadata.annotations",
        "are the operator's own",
    ),
    (peer(), "spec.networkPolicy.allowFrom[0]", "needs a podSelector"),
    (peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={}), "allowFrom[0].ipBlock", "write two peers"),
    (peer(ipBlock={"cidr": "10.0.0"}), "allowFrom[0].ipBlock.cidr", "must be a CIDR"),
]


@pytest.mark.parametrize(
    ("spec", "field", "why"), REFUSED, ids=[f"{field}: {why}" for _, field, why in REFUSED]
)
def test_a_wrong_spec_is_refused_with_field_and_reason(
    cluster: Kubectl, spec: dict[str, Any], field: str, why: str
) -> None:
    error = refusal(cluster, manifest(spec))
    assert field in error
    assert why in error


@pytest.mark.parametrize("name", ["1st", "a.b", "x" * 51])
def test_a_name_that_no_service_can_have_is_refused(cluster: Kubectl, name: str) -> None:
    assert "a Service gets the same name" in refusal(cluster, manifest({}, name))


def test_a_misspelt_field_is_refused_by_its_name(cluster: Kubectl) -> None:
    assert 'unknown field "spec.control.pathpruning"' in refusal(
        cluster, manifest({"control": {"pathpruning": {}}})
    )


ACCEPTED = [
    {},
    {"control": {}, "serving": {"queue": {}}, "gpu": {}, "networkPolicy": {}},
    {"control": {"computeBudget": {"minCoefficient": "1", "maxCoefficient": "1.0"}}},
    {"serving": {"drainTimeout": "1m30s", "resources": {"requests": {"cpu": 2, "memory": "24Gi"}}}},
    {"model": {"uri": "pvc://models"}},
    {"suspend": True, "replicas": 3},
    {"scaling": {"minReplicas": 0, "maxReplicas": 4, "maxGPUs": 8, "targets": {"kvUtilisation": 80}}},
    {"monitoring": {"slo": {"budgetUtilisation": {"min": "0.85"}, "latencyP99": "1200ms"}}},
    {"podTemplate": {"metadata": {"labels": {"team": "a"}}, "spec": {"whatever": [{"there": "is"}]}}},
    {"model": {"uri": "pvc://models/deep/folder", "digest": DIGEST}},
    {"model": {"uri": "s3://models", "secretRef": {"name": "keys"}}},
    {"model": {"uri": "s3://my.models/deep/folder", "digest": DIGEST, "cache": {"size": "60Gi"}}},
    {"model": {"uri": "https://host:8443/a/nano.tar.gz", "secretRef": {"name": "token"}}},
    {"model": {"uri": "http://nano.files.svc/nano.tgz", "digest": DIGEST}},
    {"model": {"uri": f"oci://registry:5000/models/nano@{DIGEST}", "secretRef": {"name": "pull"}}},
    {"model": {"uri": HF, "cache": {"size": "1.5Ti", "accessModes": ["ReadWriteMany"]}}},
    adapters(
        {"name": "law", "uri": "pvc://adapters/law", "domain": "court", "specialTokens": ["verdict:", "§"]},
        {"name": "tax-2", "uri": "s3://models/tax", "digest": DIGEST, "secretRef": {"name": "keys"}},
        {"name": "careful", "budgetScale": "1.5"},
    ),
    peer(podSelector={}),
    peer(ipBlock={"cidr": "fd00::/8", "except": ["fd00:1::/32"]}),
]


@pytest.mark.parametrize("spec", ACCEPTED, ids=json.dumps)
def test_a_right_spec_is_accepted(cluster: Kubectl, spec: dict[str, Any]) -> None:
    cluster("create", "--dry-run=server", "--filename=-", stdin=manifest(spec))


CACHED = {"size": "2Gi", "storageClassName": "fast"}
CHANGED = [
    ({"size": "1Gi"}, "size can't shrink"),
    ({"storageClassName": None}, "storageClassName can't be changed"),
    ({"storageClassName": "slow"}, "storageClassName can't be changed"),
    ({"accessModes": ["ReadWriteMany"]}, "accessModes can't be changed"),
]


@pytest.mark.parametrize(("change", "why"), CHANGED, ids=[json.dumps(change) for change, _ in CHANGED])
def test_what_no_volume_can_do_is_refused_of_a_cache(
    kubectl: Kubectl, change: dict[str, Any], why: str
) -> None:
    kubectl("create", "--filename=-", stdin=manifest(model(uri=HF, cache=CACHED) | {"replicas": 0}))
    patch = json.dumps({"spec": {"model": {"cache": change}}})
    refused = kubectl.run("patch", "cmodel", "nano", "--type=merge", "--patch", patch)
    assert refused.returncode != 0, "accepted"
    assert f"spec.model.cache.{next(iter(change))}" in refused.stderr
    assert why in refused.stderr
    kubectl.patch("cmodel", "nano", {"spec": {"model": {"cache": {"size": "3Gi"}}}})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_accepted(cluster: Kubectl, path: Path) -> None:
    cluster("create", "--dry-run=server", f"--filename={path}")


def test_the_server_fills_in_every_default(cluster: Kubectl) -> None:
    output = cluster("create", "--dry-run=server", "--output=json", "--filename=-", stdin=manifest({}))
    spec = json.loads(output)["spec"]
    assert spec["control"]["pathPruning"] == {"enabled": True, "maxPaths": 16}
    assert spec["serving"]["queue"] == {"size": 256, "timeout": "30s"}
    assert spec["serving"]["resources"] == {"requests": {"cpu": "100m", "memory": "1Gi"}}
    assert (spec["replicas"], spec["suspend"]) == (1, False)
    assert spec["scaling"] == {"minReplicas": 1, "targets": {"waitingRequests": 8}}
    assert spec["monitoring"] == {"enabled": True, "slo": {}}
    assert spec["networkPolicy"] == {"enabled": True, "allowFrom": []}


def test_kubectl_explains_a_field_with_its_meaning(cluster: Kubectl) -> None:
    text = cluster("explain", "cmodel.spec.control.pathPruning")
    assert "maxPaths is the most reasoning paths of one request" in " ".join(text.split())
