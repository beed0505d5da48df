"""From recordings to control.json: train gate and budget, calibrate, and choose when to be fast.

What is chosen is chosen on the validation split by replay; the test split is only ever reported on.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from controllable_inference.control.allocation import BudgetRule
from controllable_inference.control.baselines import MajorityVote
from controllable_inference.control.budget import BudgetPredictor
from controllable_inference.control.calibration import Calibration
from controllable_inference.control.config import (
    BudgetConfig,
    CalibrationConfig,
    ControlConfig,
    FeatureConfig,
    GateConfig,
)
from controllable_inference.control.controller import Controller, GatedController
from controllable_inference.control.features import feature_names
from controllable_inference.control.gate import PathGate
from controllable_inference.evaluation.metrics import auc, spearman
from controllable_inference.evaluation.records import ProblemRecord
from controllable_inference.evaluation.replay import Replayed, replay
from controllable_inference.training.budget import BudgetRecipe, predict, train_budget
from controllable_inference.training.gate import GateRecipe, calibrate, discrimination, train_gate
from controllable_inference.training.rollouts import PATHS, TOKEN_CAP

THRESHOLD = 0.3
# Guards, set and not tuned: a first step says little about a path, and a vote needs voters.
MIN_STEPS, MIN_KEEP = 2, 4
FAST_GRID = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
TOLERANCE = 0.005  # accuracy that fast mode may cost on validation


@dataclass(frozen=True)
class Trained:
    """Gate, budget predictor, and the configuration that goes with them."""

    gate: PathGate
    budget: BudgetPredictor
    config: ControlConfig


def score_with(gate: PathGate, calibration: Calibration) -> Callable[[Tensor], Tensor]:
    """(n, feature_dim) -> (n,) calibrated scores."""
    return lambda features: calibration(gate(features[None])[0])


def rule(fast_threshold: float) -> BudgetRule:
    """The budget rule of the shipped model."""
    return BudgetRule(PATHS, TOKEN_CAP, PATHS, fast_threshold=fast_threshold)


def summary(replayed: Sequence[Replayed]) -> dict[str, float]:
    """Means by problem, and the two readings of key-path retention: recall of paths is pooled over paths."""
    right = sum(r.all_right for r in replayed)
    return {
        "accuracy": float(np.mean([r.right for r in replayed])),
        "path_tokens": float(np.mean([r.tokens for r in replayed])),
        "paths": float(np.mean([r.started for r in replayed])),
        "pruned_share": sum(r.pruned for r in replayed) / sum(r.started for r in replayed),
        "stopped_share": sum(r.stopped for r in replayed) / sum(r.started for r in replayed),
        "right_path_recall": sum(r.kept_right for r in replayed) / right if right else 1.0,
        "fast_share": float(np.mean([r.fast for r in replayed])),
        "mean_coefficient": float(np.mean([r.coefficient for r in replayed])),
    }


def replay_all(records: Sequence[ProblemRecord], controller: Controller) -> list[Replayed]:
    """Every record under one controller."""
    return [replay(record, controller) for record in records]


def train_control(
    train: list[ProblemRecord],
    validation: list[ProblemRecord],
    calibration: list[ProblemRecord],
    say: Callable[[str], None],
) -> Trained:
    """Everything that control.json describes."""
    gate, gate_loss = train_gate(train, validation, GateRecipe())
    say(f"gate: validation loss {gate_loss:.4f}, {discrimination(gate, validation)}")
    budget, error = train_budget(train, validation, BudgetRecipe())
    say(f"budget: mean absolute error {error:.3f} on validation")
    mapping = calibrate(gate, calibration, MIN_STEPS)
    fast_threshold = _choose_fast_threshold(score_with(gate, mapping), budget, validation, say)
    config = ControlConfig(
        step_delimiters=["\n"],
        think_end="</think>",
        fast_prefix="</think>",
        features=FeatureConfig(names=feature_names()),
        gate=GateConfig(
            hidden_dim=gate.hidden_dim,
            threshold=THRESHOLD,
            min_keep=MIN_KEEP,
            min_steps=MIN_STEPS,
            calibration=CalibrationConfig(x=list(mapping.x), y=list(mapping.y)),
        ),
        budget=BudgetConfig(
            input_dim=budget.input_dim,
            hidden_dim=budget.lstm.hidden_size,
            base_paths=PATHS,
            base_tokens=TOKEN_CAP,
            fast_threshold=fast_threshold,
        ),
        data={"gate_recipe": asdict(GateRecipe()), "budget_recipe": asdict(BudgetRecipe())},
    )
    return Trained(gate, budget, config)


def _choose_fast_threshold(
    score: Callable[[Tensor], Tensor],
    budget: BudgetPredictor,
    records: Sequence[ProblemRecord],
    say: Callable[[str], None],
) -> float:
    """The highest threshold of the grid that costs no more than TOLERANCE of the accuracy without any."""
    chosen, least = 0.0, 0.0
    for threshold in FAST_GRID:
        controller = GatedController(
            rule(threshold),
            score,
            threshold=THRESHOLD,
            min_keep=MIN_KEEP,
            min_steps=MIN_STEPS,
            predictor=budget,
        )
        result = summary(replay_all(records, controller))
        say(f"fast under {threshold}: " + ", ".join(f"{name} {value:.3f}" for name, value in result.items()))
        if threshold == 0:
            least = result["accuracy"] - TOLERANCE
        elif result["accuracy"] >= least:
            chosen = threshold
    return chosen


def figures(trained: Trained, records: list[ProblemRecord]) -> dict[str, Any]:
    """What gate and budget are worth on records they never saw, all by replay of the same paths."""
    config = trained.config
    assert config.gate is not None
    assert config.gate.calibration is not None
    assert config.budget is not None
    score = score_with(trained.gate, Calibration.of(config.gate.calibration))
    gate = partial(
        GatedController,
        score=score,
        threshold=config.gate.threshold,
        min_keep=config.gate.min_keep,
        min_steps=config.gate.min_steps,
    )
    wide = rule(fast_threshold=0)
    systems: dict[str, Controller] = {
        "full_voting": MajorityVote(PATHS, TOKEN_CAP),
        "gate_only": gate(wide),
        "early_stop_only": GatedController(wide, score, threshold=None, weighted=False),
        "gate_and_budget": gate(rule(config.budget.fast_threshold), predictor=trained.budget),
    }
    replayed = {name: replay_all(records, system) for name, system in systems.items()}
    share = summary(replayed["gate_only"])["pruned_share"]
    chance = random.Random(0)
    # The control experiment: as many paths pruned as by the gate, but any of them.
    drawn = gate(
        wide, score=lambda f: torch.full((len(f),), chance.random()), threshold=share, weighted=False
    )
    replayed["random_pruning"] = replay_all(records, drawn)
    replays = {name: summary(outcomes) for name, outcomes in replayed.items()}
    solved = [number for number, outcome in enumerate(replayed["full_voting"]) if outcome.right]
    for name, outcomes in replayed.items():
        replays[name]["solved_stay_solved"] = float(np.mean([outcomes[n].right for n in solved]))
    coefficients = predict(trained.budget, records)
    hard = [1 - record.pass_rate for record in records]
    return {
        "problems": len(records),
        "single_sample_accuracy": float(np.mean([record.pass_rate for record in records])),
        "fast_accuracy": float(np.mean([record.fast_pass_rate for record in records])),
        "gate_auc": discrimination(trained.gate, records),
        "budget": {
            "spearman_with_failure_rate": spearman(coefficients, hard),
            "auc_of_mostly_wrong": auc(coefficients, [float(h > 0.5) for h in hard]),
        },
        "replay": replays,
    }
