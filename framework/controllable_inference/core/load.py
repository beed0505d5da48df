"""From control.json and an operator's settings to the controller of one model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.calibration import Calibration, Promise, least_patience
from controllable_inference.core.config import (
    CONTROL_FILE,
    BudgetConfig,
    ClosingConfig,
    ControlConfig,
    ControlSettings,
    EarlyExitConfig,
    GateConfig,
    PolicyConfig,
)
from controllable_inference.core.controller import Controller, GatedController, confidence_rank
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.features import compares, select
from controllable_inference.core.gate import PathGate
from controllable_inference.core.policy import ACTIONS, STATE, Outlay, Policy, PolicyNet
from controllable_inference.errors import ControlConfigError

log = logging.getLogger(__name__)


def load_controller(
    folder: Path, config: ControlConfig | None, settings: ControlSettings, hidden_size: int, thinks: bool
) -> Controller:
    """The shipped controller of a model, whose paths are closed early where that is asked for.

    Raises ControlConfigError as `load_gated` does, and for an early exit that can't be promised.
    """
    controller = load_gated(folder, config, settings, hidden_size, thinks)
    max_risk = settings.early_exit.max_risk if settings.early_exit else None
    if max_risk is None:
        return controller
    return _closed_early(controller, folder, config.early_exit if config else None, max_risk)


def _closed_early(
    controller: GatedController, folder: Path, seen: EarlyExitConfig | None, max_risk: float
) -> EarlyExit:
    if seen is None:
        raise ControlConfigError(
            f"earlyExit.maxRisk is {max_risk}, and {folder / CONTROL_FILE} does not tell what an early exit "
            "costs this model: `controllable-inference train early-exit` finds out"
        )
    patience = least_patience(seen.lost, seen.problems, max_risk)
    if patience is None:
        raise ControlConfigError(
            f"earlyExit.maxRisk is {max_risk}, which {seen.problems} calibration problems can't promise for "
            f"any patience up to {len(seen.lost)}: allow more, or calibrate on more (train early-exit)"
        )
    return EarlyExit(controller, every=seen.every, patience=patience)


def load_gated(
    folder: Path, config: ControlConfig | None, settings: ControlSettings, hidden_size: int, thinks: bool
) -> GatedController:
    """hidden_size: the model's. thinks: whether it has a thinking segment that fast mode can skip.

    A policy reads the gate's scores, so there is none without a gate.
    Raises ControlConfigError when gate, budget or policy were trained for another model or version.
    """
    gate = config.gate if config else None
    budget = config.budget if config else None
    policy = config.policy if config and gate and settings.policy.enabled else None
    if config:
        check_digests(folder, config.digests)
    if gate is None and settings.path_pruning.enabled:
        log.warning(
            "%s has no gate in %s: of several paths, those are pruned that the model is least sure of",
            folder,
            CONTROL_FILE,
        )
    predictor = None
    if budget is not None and settings.compute_budget.enabled:
        predictor = _load_budget(folder, budget, hidden_size)
    threshold = settings.path_pruning.threshold
    if threshold is None:
        threshold = gate.threshold if gate else GateConfig(hidden_dim=1).threshold
        if policy:
            threshold = max(threshold, policy.threshold)
    return GatedController(
        budget_rule(config, settings, thinks),
        _load_gate(folder, config, gate, hidden_size) if config and gate else confidence_rank,
        threshold=threshold if settings.path_pruning.enabled else None,
        min_keep=gate.min_keep if gate else 2,
        min_steps=gate.min_steps if gate else 2,
        weight=_promise(gate).probability_of if gate else None,
        predictor=predictor,
        policy=load_policy(folder, policy) if policy else None,
        needs_siblings=not (config and gate) or compares(config.features.names),
    )


def check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Raises ControlConfigError for weights that are not those that control.json was written for."""
    for name, expected in digests.items():
        path = folder / name
        if path.is_file() and weights_digest(path) != expected:
            raise ControlConfigError(
                f"{path} is not the file that {CONTROL_FILE} was written for: one of the two comes from "
                "another training, or from one that was stopped. Train again, or fetch both again"
            )


def weights_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def budget_rule(config: ControlConfig | None, settings: ControlSettings, thinks: bool) -> BudgetRule:
    """What the model was trained for, within what the operator allows.

    A model that nothing is known of starts one path, for as long as its context allows.
    """
    allowed = settings.compute_budget
    trained = config.budget if config else None
    rest = trained or BudgetConfig(input_dim=1)
    caps = [trained.base_tokens if trained else None, allowed.max_tokens]
    return BudgetRule(
        base_paths=trained.base_paths if trained else 1,
        base_tokens=min((cap for cap in caps if cap is not None), default=None),
        max_paths=settings.path_pruning.max_paths,
        min_coefficient=allowed.min_coefficient,
        max_coefficient=allowed.max_coefficient,
        fast_threshold=rest.fast_threshold,
        min_token_share=rest.min_token_share,
        can_be_fast=thinks,
        answer_share=(config.closing if config else ClosingConfig()).answer_share,
    )


def _load_gate(
    folder: Path, control: ControlConfig, config: GateConfig, hidden_size: int
) -> Callable[[Tensor], Tensor]:
    """A gate reads the features it was trained with, by their names, whatever else there is by now."""
    try:
        columns = select(control.features.names, hidden_size)
    except ControlConfigError as error:
        raise ControlConfigError(f"{folder / CONTROL_FILE}: features.names: {error}") from error
    if config.hidden_dim != len(columns):
        raise ControlConfigError(
            f"{folder / CONTROL_FILE}: gate.hidden_dim is {config.hidden_dim}, but its features make vectors "
            f"of length {len(columns)} (hidden size {hidden_size}); the gate is another model's"
        )
    gate = PathGate.load(folder / config.weights, config.hidden_dim, config.threshold)
    calibrate = Calibration.of(config.calibration) if config.calibration else None
    promise = _promise(config)
    index = torch.tensor(columns, device=next(gate.parameters()).device)

    def score(features: Tensor) -> Tensor:
        raw = gate(features.to(index.device)[None, :, index])[0]
        return promise(calibrate(raw) if calibrate else raw)

    return score


def _promise(gate: GateConfig) -> Promise:
    at = GateConfig.model_fields["threshold"].default
    return Promise(at if gate.promised_probability is None else gate.promised_probability, at)


def _load_budget(folder: Path, config: BudgetConfig, hidden_size: int) -> BudgetPredictor:
    if config.input_dim != hidden_size:
        raise ControlConfigError(
            f"{folder / CONTROL_FILE}: budget.input_dim is {config.input_dim}, but this model's hidden "
            f"states have size {hidden_size}; the budget predictor is another model's"
        )
    return BudgetPredictor.load(folder / config.weights, config.input_dim, config.hidden_dim)


def load_policy(folder: Path, config: PolicyConfig) -> Policy:
    """Raises ControlConfigError when it was trained for another version, or its weights don't fit."""
    for field, named, known in (("state", config.state, STATE), ("actions", config.actions, ACTIONS)):
        if foreign := [name for name in named if name not in known]:
            raise ControlConfigError(
                f"{folder / CONTROL_FILE}: policy.{field}: this version has no {', '.join(foreign)}; it "
                f"has {', '.join(known)}. Train the policy again, or use the version it was trained with"
            )
    net = PolicyNet.load(folder / config.weights, len(config.state), config.hidden_dim, len(config.actions))
    outlay = Outlay(config.start_paths, config.at_once, tuple(config.checkpoints))
    return Policy(net, outlay, config.state, config.actions)
