"""engine.json: the pydantic models say what the committed schema says; a manifest becomes one."""

import json
from pathlib import Path

import jsonschema
import pytest
from controllable_inference.serving.config import ENV, EngineConfig, load_engine_config
from controllable_inference.serving.errors import ConfigError
from controllable_inference.serving.local import _destination
from controllable_inference.serving.manifest import parse_duration, parse_manifest, read_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "engine.schema.json").read_text())


def manifest(**spec):
    return {
        "apiVersion": "serving.controllable.dev/v1alpha1",
        "kind": "ControllableModel",
        "metadata": {"name": "nano"},
        "spec": {"model": {"uri": "image:///models/nano"}, **spec},
    }


def rules_of(schema, definitions=None):
    """A schema reduced to what it allows: references resolved, titles and descriptions dropped."""
    definitions = schema.get("$defs", definitions)
    if "$ref" in schema:
        return rules_of(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    rules = {}
    for key, value in schema.items():
        if key in ("$schema", "$id", "$defs", "title", "description"):
            continue
        if key == "properties":
            value = {name: rules_of(each, definitions) for name, each in value.items()}
        elif key == "items":
            value = rules_of(value, definitions)
        elif key == "anyOf":
            value = [rules_of(each, definitions) for each in value]
        elif key == "required":
            value = sorted(value)
        rules[key] = value
    if "enum" in rules:
        rules.pop("type", None)
    return rules


def test_the_models_allow_exactly_what_the_committed_schema_allows():
    assert rules_of(EngineConfig.model_json_schema(by_alias=True)) == rules_of(SCHEMA)


def test_a_manifest_with_nothing_but_a_uri_becomes_a_valid_engine_json_with_the_resources_defaults():
    document = parse_manifest(manifest()).engine_config("/weights/model").to_json()
    jsonschema.validate(document, SCHEMA)
    assert document["model"] == {
        "name": "nano", "path": "/weights/model", "precision": "auto", "engine": "auto", "tensorParallel": 1,
        "adapters": [],
    }  # fmt: skip
    assert document["control"]["pathPruning"] == {"enabled": True, "maxPaths": 16, "threshold": None}
    assert document["control"]["computeBudget"]["maxTokens"] is None
    assert document["serving"]["queue"] == {"size": 256, "timeoutSeconds": 30.0}
    assert document["serving"]["drainTimeoutSeconds"] == 60.0


def test_what_a_manifest_says_wins_over_defaults_field_by_field():
    spec = {
        "control": {"pathPruning": {"maxPaths": 4}, "trace": "full"},
        "serving": {"queue": {"timeout": "1m30s"}},
        "gpu": {"count": 2, "nvlink": "required"},
    }
    document = parse_manifest(manifest(**spec)).engine_config("m").to_json()
    assert document["control"]["pathPruning"] == {"enabled": True, "maxPaths": 4, "threshold": None}
    assert document["control"]["trace"] == "full"
    assert document["model"]["tensorParallel"] == 2
    assert document["serving"]["queue"] == {"size": 256, "timeoutSeconds": 90.0}


def test_one_machine_fetches_what_the_manifest_pins_and_needs_no_cache_for_it():
    source = {"uri": "s3://models/nano", "digest": "sha256:1", "cache": {"size": "1Gi"}}
    wanted = parse_manifest(manifest(model=source | {"secretRef": {"name": "keys"}}))
    assert (wanted.uri, wanted.revision, wanted.digest) == ("s3://models/nano", None, "sha256:1")


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("hf://org/nano", "org--nano"),
        ("s3://models/deep/nano", "s3--models--deep--nano"),
        ("https://host/nano.zip", "https--host--nano.zip"),
    ],
)
def test_one_machine_keeps_downloads_between_runs(tmp_path, monkeypatch, uri, folder):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = _destination(uri, None, tmp_path / "scratch")
    assert kept == tmp_path / "controllable-inference" / "models" / folder
    assert _destination("image:///models/nano", None, tmp_path / "scratch") == tmp_path / "scratch"


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"model": {}}, "spec.model.uri"),
        ({"modle": {}}, "spec.modle"),
        ({"control": {"pathPruning": {"maxPaths": 0}}}, "control.pathPruning.maxPaths"),
        ({"control": {"pathPruning": {"threshold": 0.3}}}, "control.pathPruning.threshold"),
        ({"control": {"polizy": {}}}, "control.polizy"),
        ({"gpu": {"count": -1}}, "model.tensorParallel"),
        ({"serving": {"drainTimeout": "soon"}}, "spec.serving.drainTimeout"),
        ({"serving": {"queue": {"length": 3}}}, "spec.serving.queue.length"),
        ({"control": ["x"]}, "spec.control"),
    ],
)
def test_a_wrong_manifest_is_refused_by_the_name_of_the_field(spec, named):
    with pytest.raises(ConfigError, match=named):
        parse_manifest(manifest(**spec))


def test_a_manifests_adapters_are_in_its_engine_json_with_the_paths_of_those_that_have_weights():
    law = {"name": "law", "uri": "hf://org/law", "domain": "court", "budgetScale": "1.5"}
    source = {"uri": "image:///models/nano", "adapters": [law, {"name": "slow", "specialTokens": ["wait:"]}]}
    wanted = parse_manifest(manifest(model=source))
    document = wanted.engine_config("m", {"law": Path("/weights/law")}).to_json()
    jsonschema.validate(document, SCHEMA)
    assert document["model"]["adapters"] == [
        {"name": "law", "domain": "court", "path": "/weights/law", "specialTokens": [], "budgetScale": "1.5"},
        {"name": "slow", "domain": "slow", "path": None, "specialTokens": ["wait:"], "budgetScale": "1"},
    ]


@pytest.mark.parametrize("name", ["nano", "law", "No", "../up", None])
def test_an_adapters_name_is_a_label_of_its_own(name):
    source = {"uri": "image:///models/nano", "adapters": [{"name": "law"}, {"name": name}]}
    with pytest.raises(ConfigError, match=r"spec\.model\.adapters\.1\.name"):
        parse_manifest(manifest(model=source))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_can_be_served_on_one_machine(path):
    read_manifest(path)


def test_a_file_without_a_controllable_model_is_refused_by_name(tmp_path):
    (tmp_path / "pod.yaml").write_text("kind: Pod\napiVersion: v1\n")
    with pytest.raises(ConfigError, match=r"pod\.yaml: holds no ControllableModel"):
        read_manifest(tmp_path / "pod.yaml")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200)])
def test_durations_are_read_as_kubernetes_writes_them(text, seconds):
    assert parse_duration(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "1 m", 30, "30s "])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ConfigError, match="x: not a duration"):
        parse_duration(text, "x")


def test_the_engine_config_is_the_file_that_the_environment_names(tmp_path):
    document = parse_manifest(manifest()).engine_config("m").to_json()
    (tmp_path / "engine.json").write_text(json.dumps(document))
    assert load_engine_config({ENV: str(tmp_path / "engine.json")}).to_json() == document


def test_faults_of_the_engine_config_name_variable_file_or_field(tmp_path):
    file = tmp_path / "engine.json"
    with pytest.raises(ConfigError, match=ENV):
        load_engine_config({})
    with pytest.raises(ConfigError, match=f"{file}: No such file"):
        load_engine_config({ENV: str(file)})
    file.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        load_engine_config({ENV: str(file)})
    document = parse_manifest(manifest()).engine_config("m").to_json()
    document["serving"]["maxConcurrentRequests"] = "64"
    file.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"serving\.maxConcurrentRequests"):
        load_engine_config({ENV: str(file)})
