"""Training of BudgetPredictor: from a prompt's hidden states to the compute its question deserves."""

import copy
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from controllable_inference.core.budget import MAX_COEFFICIENT, BudgetPredictor
from controllable_inference.learn.records import ProblemRecord

FAST_IS_SAFE = 0.9  # smoothed fast pass rate from which thinking is a waste
LEAST_SLOW = 0.4  # far enough from 0 that the predictor can tell "fast" from "easy"


@dataclass(frozen=True)
class BudgetRecipe:
    steps: int = 800
    problems: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    hidden_dim: int = 64
    seed: int = 1


def target(record: ProblemRecord) -> float:
    """The coefficient a problem deserves: 0 where fast mode is right, else rising with the failure rate.

    LEAST_SLOW for a problem whose every path is right, 2 for one whose paths all fail.
    """
    if record.fast_pass_rate >= FAST_IS_SAFE:
        return 0.0
    return LEAST_SLOW + (MAX_COEFFICIENT - LEAST_SLOW) * (1 - record.pass_rate)


def _batch(records: list[ProblemRecord]) -> tuple[Tensor, Tensor, Tensor]:
    """Padded hidden states (problems, tokens, hidden size), lengths and targets (problems,)."""
    hidden = [record.prompt_hidden.float() for record in records]
    lengths = torch.tensor([len(states) for states in hidden])
    return pad_sequence(hidden, batch_first=True), lengths, torch.tensor([target(r) for r in records])


def train_budget(
    train: list[ProblemRecord], validation: list[ProblemRecord], recipe: BudgetRecipe
) -> tuple[BudgetPredictor, float]:
    """The predictor with the lowest validation error seen, and its mean absolute error there."""
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    predictor = BudgetPredictor(train[0].prompt_hidden.shape[1], recipe.hidden_dim)
    optimizer = torch.optim.AdamW(predictor.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps)
    checked = _batch(validation)
    best, best_error = copy.deepcopy(predictor.state_dict()), float("inf")
    for step in range(1, recipe.steps + 1):
        hidden, lengths, wanted = _batch(rng.sample(train, min(recipe.problems, len(train))))
        hidden = torch.nn.functional.dropout(hidden, recipe.dropout)
        loss = (predictor(hidden, lengths) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == recipe.steps:
            with torch.no_grad():
                error = (predictor(*checked[:2]) - checked[2]).square().mean().item()
            if error < best_error:
                best, best_error = copy.deepcopy(predictor.state_dict()), error
    predictor.load_state_dict(best)
    with torch.no_grad():
        mae = (predictor(*checked[:2]) - checked[2]).abs().mean().item()
    return predictor.eval(), mae


def predict(predictor: BudgetPredictor, records: list[ProblemRecord]) -> list[float]:
    """Coefficient of each problem, as the engine computes it."""
    with torch.inference_mode():
        return [float(predictor(record.prompt_hidden.float()[None])[0]) for record in records]
