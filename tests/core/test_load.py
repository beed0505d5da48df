"""From control.json to a controller: a gate reads the features that it was trained with."""

from pathlib import Path

import pytest
import torch
from controllable_inference.core.config import ControlConfig, ControlSettings, FeatureConfig, GateConfig
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
