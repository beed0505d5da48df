from pathlib import Path

import pytest
import torch
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.gate import PathGate
from controllable_inference.errors import ControlConfigError


def test_the_gate_scores_every_path_between_zero_and_one():
    scores = PathGate(12)(torch.randn(3, 5, 12))
    assert scores.shape == (3, 5)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_given_the_paths_the_gate_returns_them_with_pruned_ones_masked():
    gate, paths = PathGate(12, threshold=0.5), torch.randn(2, 7, 12)
    masked = gate(paths, paths)
    keep = gate(paths) > 0.5
    assert masked.shape == paths.shape
    assert torch.equal(masked[keep], paths[keep])
    assert (masked[~keep] == 0).all()


def test_budget_coefficients_lie_between_zero_and_two():
    coefficients = BudgetPredictor(6)(torch.randn(4, 9, 6) * 100)
    assert coefficients.shape == (4,)
    assert ((coefficients >= 0) & (coefficients <= 2)).all()


def test_padding_does_not_move_a_budget():
    predictor, prompt = BudgetPredictor(6), torch.randn(1, 4, 6)
    padded = torch.cat((prompt, torch.randn(1, 3, 6)), dim=1)
    assert torch.allclose(predictor(prompt), predictor(padded, torch.tensor([4])))


def test_saved_weights_come_back(tmp_path: Path):
    gate, budget = PathGate(5), BudgetPredictor(5, 8)
    gate.save(tmp_path / "gate.safetensors")
    budget.save(tmp_path / "budget.safetensors")
    x = torch.randn(1, 3, 5)
    assert torch.equal(PathGate.load(tmp_path / "gate.safetensors", 5)(x), gate(x))
    assert torch.equal(BudgetPredictor.load(tmp_path / "budget.safetensors", 5, 8)(x), budget(x))


def test_a_gate_of_another_size_is_refused_with_its_file(tmp_path: Path):
    PathGate(5).save(tmp_path / "gate.safetensors")
    with pytest.raises(ControlConfigError, match=r"gate\.safetensors does not hold .* length 6"):
        PathGate.load(tmp_path / "gate.safetensors", 6)


def test_a_missing_gate_is_refused_with_its_file(tmp_path: Path):
    with pytest.raises(ControlConfigError, match=r"gate\.safetensors is missing"):
        PathGate.load(tmp_path / "gate.safetensors", 6)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path):
    gate = PathGate(5)
    gate.net[0].weight.data[0, 0] = float("nan")  # type: ignore[index, union-attr]
    gate.save(tmp_path / "gate.safetensors")
    with pytest.raises(ControlConfigError, match="not finite"):
        PathGate.load(tmp_path / "gate.safetensors", 5)
