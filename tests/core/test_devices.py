"""Gate and budget predictor may live on another device than the engine: their inputs are brought there."""

from pathlib import Path

import pytest
import torch
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.config import BudgetConfig, ControlConfig, ControlSettings, GateConfig
from controllable_inference.core.features import feature_dim
from controllable_inference.core.gate import PathGate
from controllable_inference.core.load import load_controller
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PromptView
from torch import Tensor, nn

HIDDEN = 8


class Elsewhere(nn.Module):
    """Has its parameters on torch's `meta` device, and notes on which device it is given what."""

    def __init__(self, scores: tuple[float, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))
        self.scores = torch.tensor(scores)
        self.given: list[tuple[str, tuple[int, ...]]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append((x.device.type, tuple(x.shape)))
        return self.scores


@pytest.fixture
def gate(monkeypatch):
    elsewhere = Elsewhere(((0.25, 0.75, 0.5),))
    monkeypatch.setattr(PathGate, "load", lambda *_: elsewhere)
    return elsewhere


@pytest.fixture
def predictor(monkeypatch):
    elsewhere = Elsewhere((0.5,))
    monkeypatch.setattr(BudgetPredictor, "load", lambda *_: elsewhere)
    return elsewhere


@pytest.fixture
def controller(gate, predictor):
    config = ControlConfig(
        gate=GateConfig(hidden_dim=feature_dim(HIDDEN)), budget=BudgetConfig(input_dim=HIDDEN, base_paths=8)
    )
    return load_controller(Path("nowhere"), config, ControlSettings(), HIDDEN, thinks=True)


def test_features_are_brought_to_the_gates_device(controller, gate):
    scores = controller.score(torch.zeros(3, feature_dim(HIDDEN)))
    assert gate.given == [("meta", (1, 3, feature_dim(HIDDEN)))]
    assert scores.argsort().tolist() == [0, 2, 1]


def test_a_prompts_hidden_states_are_brought_to_the_predictors_device(controller, predictor):
    hidden = torch.zeros(5, HIDDEN, dtype=torch.bfloat16)
    plan = controller.plan(PromptView(5, hidden, 1000, SamplingParams(), RequestBudget()))
    assert predictor.given == [("meta", (1, 5, HIDDEN))]
    assert (plan.coefficient, plan.paths) == (0.5, 4)
