"""From control.json to a controller: a gate reads the features that it was trained with."""

from pathlib import Path

import pytest
import torch
from controllable_inference.core.config import (
    ControlConfig,
    ControlSettings,
    EarlyExitConfig,
    FeatureConfig,
    GateConfig,
)
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.features import feature_dim, feature_names, select
from controllable_inference.core.gate import PathGate
from controllable_inference.core.load import load_controller
from controllable_inference.errors import ControlConfigError

HIDDEN = 5


def loaded(folder: Path, names: list[str], size: int):
    torch.manual_seed(1)
    gate = PathGate(size)
    gate.save(folder / "gate.safetensors")
    config = ControlConfig(features=FeatureConfig(names=names), gate=GateConfig(hidden_dim=size))
    return gate, load_controller(folder, config, ControlSettings(), HIDDEN, thinks=True)


@pytest.mark.parametrize(
    "names",
    [
        feature_names(),
        feature_names()[:-4],  # what there was before paths were compared step by step
        ["rank", "step_agreement", "path_logprob"],
        ["step_mean_hidden[*]", "rank"],
    ],
)
def test_a_gate_is_shown_the_columns_that_it_names_in_its_order(tmp_path, names):
    columns = select(names, HIDDEN)
    gate, controller = loaded(tmp_path, names, len(columns))
    features = torch.randn(3, feature_dim(HIDDEN))
    assert torch.equal(controller.score(features), gate(features[:, columns][None])[0])


def test_a_gate_that_names_nothing_reads_everything(tmp_path):
    gate, controller = loaded(tmp_path, [], feature_dim(HIDDEN))
    features = torch.randn(3, feature_dim(HIDDEN))
    assert torch.equal(controller.score(features), gate(features[None])[0])


def test_a_gate_of_another_size_than_its_names_make_is_refused(tmp_path):
    with pytest.raises(ControlConfigError, match=r"hidden_dim is 77, .* length 3 \(hidden size 5\)"):
        loaded(tmp_path, ["rank", "step_entropy", "path_entropy"], 77)


def test_a_gate_that_reads_what_this_version_does_not_know_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(
        ControlConfigError, match=r"control\.json: features\.names: .* luck; .* Train the gate"
    ):
        loaded(tmp_path, ["rank", "luck"], 2)


def with_early_exit(folder: Path, seen: EarlyExitConfig | None, **allowed: str):
    config = ControlConfig(early_exit=seen)
    settings = ControlSettings.parse({"earlyExit": allowed})
    return load_controller(folder, config, settings, HIDDEN, thinks=True)


SEEN = EarlyExitConfig(every=2, problems=300, right=200, lost=[60, 30, 8], thinking=[0.2, 0.4, 0.6])


def test_paths_are_closed_early_with_the_patience_that_keeps_the_risk(tmp_path):
    controller = with_early_exit(tmp_path, SEEN, maxRisk="0.05")
    assert isinstance(controller, EarlyExit)
    assert (controller.every, controller.patience) == (2, 3)
    assert with_early_exit(tmp_path, SEEN, maxRisk="0.15").patience == 2


def test_no_path_is_closed_early_where_nobody_asked_for_it(tmp_path):
    assert not isinstance(with_early_exit(tmp_path, SEEN), EarlyExit)


def test_an_early_exit_that_can_not_be_promised_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ControlConfigError, match="train early-exit` finds out"):
        with_early_exit(tmp_path, None, maxRisk="0.05")
    with pytest.raises(ControlConfigError, match="300 calibration problems can't promise"):
        with_early_exit(tmp_path, SEEN, maxRisk="0.01")
