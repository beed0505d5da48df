"""From recordings to control.json: train gate, budget and policy, calibrate, and choose when to be fast.

What is chosen is chosen on the validation split by replay; the test split is only ever reported on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.calibration import Calibration, Promise, recall_threshold
from controllable_inference.core.config import (
    BudgetConfig,
    CalibrationConfig,
    GateConfig,
    PolicyConfig,
)
from controllable_inference.core.controller import Controller, GatedController, confidence_rank
from controllable_inference.core.gate import PathGate
from controllable_inference.core.policy import Policy
from controllable_inference.learn.budget import BudgetRecipe, predict, train_budget
from controllable_inference.learn.gate import (
    GateRecipe,
    calibrate,
    calibration_error,
    discrimination,
    lowest_scores,
    train_gate,
)
from controllable_inference.learn.policy import Beside, PolicyRecipe, TrainedPolicy, train_policy
from controllable_inference.learn.records import ProblemRecord
from controllable_inference.learn.replay import Replayed, replay
from controllable_inference.learn.rollouts import PATHS, TOKEN_CAP
from controllable_inference.learn.statistics import auc, spearman

THRESHOLD = 0.3
RECALL = 0.98  # of right paths, on average over problems: what the threshold promises
# Guards, set and not tuned: a first step says little about a path, and a vote needs voters.
MIN_STEPS, MIN_KEEP = 2, 2
FAST_GRID = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
TOLERANCE = 0.005  # accuracy that fast mode may cost on validation


@dataclass(frozen=True)
class ControlTarget:
    """What control is made for: what coefficient 1 buys, and the recall of right paths that it promises.

    can_be_fast: whether the model has a thinking segment that can be left out.
    """

    paths: int = PATHS
    token_cap: int = TOKEN_CAP
    can_be_fast: bool = True
    recall: float = RECALL


@dataclass(frozen=True)
class GatePart:
    """A gate, and what its scores mean."""

    gate: PathGate
    mapping: Calibration
    promise: Promise

    def probability(self, features: Tensor) -> Tensor:
        """(n, feature_dim) -> (n,) chances that paths end right."""
        return self.mapping(self.gate(features[None])[0])

    @classmethod
    def of(cls, gate: PathGate, config: GateConfig) -> "GatePart":
        """As `config` has it; scores that were never calibrated are taken as they are."""
        knots = config.calibration or CalibrationConfig(x=[0.0, 1.0], y=[0.0, 1.0])
        promised = THRESHOLD if config.promised_probability is None else config.promised_probability
        return cls(gate, Calibration.of(knots), Promise(promised, THRESHOLD))

    def config(self) -> GateConfig:
        return GateConfig(
            hidden_dim=self.gate.hidden_dim,
            threshold=THRESHOLD,
            min_keep=MIN_KEEP,
            min_steps=MIN_STEPS,
            calibration=CalibrationConfig(x=list(self.mapping.x), y=list(self.mapping.y)),
            promised_probability=self.promise.probability,
        )


@dataclass(frozen=True)
class BudgetPart:
    """A budget predictor, and the coefficient under which thinking is left out."""

    predictor: BudgetPredictor
    fast_threshold: float

    def config(self, target: ControlTarget) -> BudgetConfig:
        return BudgetConfig(
            input_dim=self.predictor.input_dim,
            hidden_dim=self.predictor.lstm.hidden_size,
            base_paths=target.paths,
            base_tokens=target.token_cap,
            fast_threshold=self.fast_threshold,
        )


@dataclass(frozen=True)
class PolicyPart:
    """A policy, and the score up to which the gate prunes under it."""

    policy: Policy
    threshold: float

    def config(self) -> PolicyConfig:
        outlay = self.policy.outlay
        return PolicyConfig(
            hidden_dim=self.policy.net.hidden_dim,
            state=list(self.policy.names),
            actions=list(self.policy.actions),
            start_paths=outlay.start_paths,
            at_once=outlay.at_once,
            checkpoints=list(outlay.checkpoints),
            threshold=self.threshold,
        )


def rule(fast_threshold: float, target: ControlTarget) -> BudgetRule:
    """The budget rule of the shipped model."""
    return BudgetRule(
        target.paths,
        target.token_cap,
        target.paths,
        fast_threshold=fast_threshold,
        can_be_fast=target.can_be_fast,
    )


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


def train_gate_part(
    train: list[ProblemRecord],
    validation: list[ProblemRecord],
    calibration: list[ProblemRecord],
    target: ControlTarget,
    hidden_columns: int,
    say: Callable[[str], None],
) -> GatePart:
    """Train a gate, make its scores probabilities, and find the one that keeps the promised recall.

    hidden_columns: see `train_gate`.
    """
    gate, loss = train_gate(train, validation, GateRecipe(), hidden_columns)
    say(f"gate: validation loss {loss:.4f}, {discrimination(gate, validation)}")
    part = GatePart(gate, calibrate(gate, calibration, MIN_STEPS), Promise(THRESHOLD, THRESHOLD))
    lowest = lowest_scores(part.probability, calibration, MIN_STEPS)
    promise = Promise(recall_threshold(lowest, target.recall), THRESHOLD)
    say(f"gate: {target.recall:.0%} of right paths score above {promise.probability:.4f}, now {THRESHOLD}")
    return replace(part, promise=promise)


def train_budget_part(
    gate: GatePart | None,
    train: list[ProblemRecord],
    validation: list[ProblemRecord],
    target: ControlTarget,
    say: Callable[[str], None],
) -> BudgetPart:
    """Train a budget predictor, and choose when to be fast beside the gate it will work with, if any."""
    predictor, error = train_budget(train, validation, BudgetRecipe())
    say(f"budget: mean absolute error {error:.3f} on validation")
    if not target.can_be_fast:
        return BudgetPart(predictor, 0.0)
    return BudgetPart(predictor, _choose_fast_threshold(gate, predictor, validation, target, say))


def is_all_fast(budget: BudgetPart | None, records: Sequence[ProblemRecord]) -> bool:
    """Whether none of these problems is thought about."""
    return budget is not None and max(predict(budget.predictor, list(records))) < budget.fast_threshold


def train_policy_part(
    gate: GatePart,
    budget: BudgetPart | None,
    calibration: list[ProblemRecord],
    validation: list[ProblemRecord],
    target: ControlTarget,
    say: Callable[[str], None],
) -> TrainedPolicy:
    """Train a policy beside this gate and budget predictor.

    It learns from the calibration split: on problems that the gate has learned from, scores are better than
    they will ever be again, and a policy would come to trust them too much.
    """
    beside = under_policy(gate, budget, target)
    return train_policy(calibration, validation, beside, PolicyRecipe(), say, token_cap=target.token_cap)


def gated(gate: GatePart | None, rule: BudgetRule, **options: Any) -> GatedController:
    """The shipped controller around these parts; without a gate nothing is pruned, and votes are equal."""
    if gate is None:
        return GatedController(rule, confidence_rank, **{"threshold": None, "weight": None} | options)
    return GatedController(
        rule,
        lambda features: gate.promise(gate.probability(features)),
        weight=gate.promise.probability_of,
        **{"threshold": THRESHOLD, "min_keep": MIN_KEEP, "min_steps": MIN_STEPS} | options,
    )


def under_policy(gate: GatePart, budget: BudgetPart | None, target: ControlTarget) -> Beside:
    """From a policy, and the score up to which the gate prunes under it, to the shipped controller."""
    its_rule = rule(budget.fast_threshold if budget else 0.0, target)
    predictor = budget.predictor if budget else None

    def beside(policy: Policy, threshold: float) -> GatedController:
        return gated(gate, its_rule, predictor=predictor, policy=policy, threshold=threshold)

    return beside


def _choose_fast_threshold(
    gate: GatePart | None,
    predictor: BudgetPredictor,
    records: Sequence[ProblemRecord],
    target: ControlTarget,
    say: Callable[[str], None],
) -> float:
    """The highest threshold of the grid that costs no more than TOLERANCE of the accuracy without any."""
    chosen, least = 0.0, 0.0
    for threshold in FAST_GRID:
        controller = gated(gate, rule(threshold, target), predictor=predictor)
        result = summary(replay_all(records, controller))
        say(f"fast under {threshold}: " + ", ".join(f"{name} {value:.3f}" for name, value in result.items()))
        if threshold == 0:
            least = result["accuracy"] - TOLERANCE
        elif result["accuracy"] >= least:
            chosen = threshold
    return chosen


def figures(
    gate: GatePart | None,
    budget: BudgetPart | None,
    policy: PolicyPart | None,
    records: list[ProblemRecord],
    target: ControlTarget,
) -> dict[str, Any]:
    """What the parts are worth on records they did not learn from, by replay of the same paths."""
    wide = rule(0, target)
    found: dict[str, Any] = {
        "problems": len(records),
        "single_sample_accuracy": float(np.mean([record.pass_rate for record in records])),
        "fast_accuracy": float(np.mean([record.fast_pass_rate for record in records])),
    }
    systems: dict[str, Controller] = {"full_voting": MajorityVote(target.paths, target.token_cap)}
    if gate is not None:
        lowest = lowest_scores(gate.probability, records, MIN_STEPS)
        recalled = [np.mean([score > gate.promise.probability for score in scores]) for scores in lowest]
        found |= {
            "gate_auc": discrimination(gate.gate, records),
            "gate_calibration_error": calibration_error(gate.probability, records, MIN_STEPS),
            "gate_recall_by_problem": float(np.mean(recalled)),
        }
        systems |= {"weighted_voting": gated(gate, wide, threshold=None), "gate_only": gated(gate, wide)}
    if budget is not None:
        coefficients = predict(budget.predictor, records)
        hard = [1 - record.pass_rate for record in records]
        found["budget"] = {
            "spearman_with_failure_rate": spearman(coefficients, hard),
            "auc_of_mostly_wrong": auc(coefficients, [float(h > 0.5) for h in hard]),
        }
        name = "budget_only" if gate is None else "gate_and_budget"
        systems[name] = gated(gate, rule(budget.fast_threshold, target), predictor=budget.predictor)
    if gate is not None and policy is not None:
        threshold = max(THRESHOLD, policy.threshold)
        systems["policy"] = under_policy(gate, budget, target)(policy.policy, threshold)
    replayed = {name: replay_all(records, system) for name, system in systems.items()}
    replays = {name: summary(outcomes) for name, outcomes in replayed.items()}
    solved = [number for number, outcome in enumerate(replayed["full_voting"]) if outcome.right]
    for name, outcomes in replayed.items():
        stay = [float(outcomes[n].right) for n in solved]
        replays[name]["solved_stay_solved"] = float(np.mean(stay)) if stay else 1.0
    return {**found, "replay": replays}
