import json
import math
from pathlib import Path

import pytest
from controllable_inference.core.config import ControlConfig, ControlSettings, GateConfig
from controllable_inference.errors import ControlConfigError

ENGINE_CONTROL = {
    "pathPruning": {"enabled": True, "maxPaths": 8, "threshold": "0.3"},
    "computeBudget": {"enabled": True, "minCoefficient": "0", "maxCoefficient": "1.5", "maxTokens": 512},
    "trace": "summary",
}

POLICY = {"hidden_dim": 8, "state": ["voters"], "actions": ["go_on"], "at_once": 4}


def test_control_json_survives_being_written_and_read(tmp_path: Path):
    config = ControlConfig(gate=GateConfig(hidden_dim=77), fast_prefix="</think>")
    config.save(tmp_path)
    assert ControlConfig.load(tmp_path) == config


def test_a_folder_without_control_json_has_none(tmp_path: Path):
    assert ControlConfig.load(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "control.json"),
        (json.dumps({"version": 2}), "version"),
        (json.dumps({"gate": {"hidden_dim": 5, "treshold": 0.3}}), "treshold"),
        (json.dumps({"gate": {"hidden_dim": 5, "calibration": {"x": [0, 1], "y": [1]}}}), "knots"),
        (json.dumps({"gate": {"hidden_dim": 5, "calibration": {"x": [math.nan], "y": [1]}}}), r"x\.0"),
        (json.dumps({"gate": {"hidden_dim": 5, "calibration": {"x": [0], "y": [math.nan]}}}), r"y\.0"),
        (json.dumps({"gate": {"hidden_dim": 5, "calibration": {"x": [0], "y": [5]}}}), r"y\.0"),
        (json.dumps({"policy": POLICY | {"start_paths": math.inf}}), "start_paths"),
        (json.dumps({"think_end": ""}), "think_end"),
        (json.dumps({"step_delimiters": ["\n", ""]}), r"step_delimiters\.1"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_foreign_control_json_is_refused_by_what_does_not_fit(tmp_path: Path, text: str, said: str):
    (tmp_path / "control.json").write_text(text)
    with pytest.raises(ControlConfigError, match=said):
        ControlConfig.load(tmp_path)


def test_engine_json_fractions_are_strings():
    settings = ControlSettings.parse(ENGINE_CONTROL)
    assert settings.path_pruning.threshold == 0.3
    assert settings.compute_budget.max_coefficient == 1.5


def test_unknown_settings_are_refused():
    with pytest.raises(ControlConfigError, match="maxPath"):
        ControlSettings.parse({"pathPruning": {"maxPath": 3}})
    with pytest.raises(ControlConfigError, match="minCoefficient"):
        ControlSettings.parse({"computeBudget": {"minCoefficient": "2", "maxCoefficient": "1"}})


def test_settings_accept_what_the_committed_schema_accepts():
    schema = json.loads((Path(__file__).parents[2] / "schemas" / "engine.schema.json").read_text())
    control = schema["properties"]["control"]["properties"]
    for part in ("pathPruning", "computeBudget", "policy"):
        fields = {
            f.alias for f in ControlSettings.model_fields[_snake(part)].annotation.model_fields.values()
        }
        assert fields == set(control[part]["properties"])


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name)
