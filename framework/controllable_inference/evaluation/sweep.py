"""Everything that is replayed for one model: the baselines in all settings, and what it ships with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controllable_inference.control.baselines import SingleSample, WeightedVote
from controllable_inference.control.baselines.weighing import Score
from controllable_inference.control.calibration import Promise
from controllable_inference.control.config import ControlConfig, ControlSettings, GateConfig
from controllable_inference.control.controller import Controller
from controllable_inference.control.load import load_controller
from controllable_inference.control.views import Decision, Prune, RequestView
from controllable_inference.evaluation.problems import Cell
from controllable_inference.evaluation.records import ProblemRecord
from controllable_inference.evaluation.systems import (
    System,
    Timing,
    gate_systems,
    oracle_systems,
    plain_systems,
    recorded_verdicts,
)

SHIPPED, LOOKUP = "shipped", "budget looked up"
PRUNING, UNGUARDED = "gate, pruning only", "gate, pruning only, unguarded"
PROBABILITIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Chances of ending right at or under which a path is pruned, where nothing but pruning is looked at."""

SETTINGS: dict[str, dict[str, Any]] = {
    SHIPPED: {},
    **{f"{SHIPPED}, {n} paths at most": {"path_pruning": {"max_paths": n}} for n in (2, 4, 8, 12)},
    **{f"{SHIPPED}, threshold {t}": {"path_pruning": {"threshold": t}} for t in (0.1, 0.2, 0.4, 0.5, 0.6)},
    **{
        f"{SHIPPED}, coefficient {c} at least": {"compute_budget": {"min_coefficient": c}}
        for c in (0.25, 0.5, 1.0)
    },
    **{
        f"{SHIPPED}, coefficient {c} at most": {"compute_budget": {"max_coefficient": c}}
        for c in (0.25, 0.5, 1.0)
    },
}
"""What an operator can set of the shipped controller; each is a point of its frontier."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "without gate": {"path_pruning": {"enabled": False}},
    "without budget": {"compute_budget": {"enabled": False}},
    "without gate and budget": {"path_pruning": {"enabled": False}, "compute_budget": {"enabled": False}},
}


class PruneBelow(WeightedVote):
    """Pruning and nothing else: a path goes at a boundary where its score is at or under `threshold`, from
    `min_steps` steps on, while at least `min_keep` paths stay. What is left votes, weighed by score.
    """

    def __init__(
        self, score: Score, paths: int, threshold: float, min_keep: int, min_steps: int, token_cap: int
    ) -> None:
        super().__init__(score, paths, token_cap)
        self.threshold = threshold
        self.min_keep = min_keep
        self.min_steps = min_steps

    def decide(self, request: RequestView) -> list[Decision]:
        scored = [(p.score, p.index) for p in request.running if p.at_boundary and p.score is not None]
        steps = {p.index: p.steps for p in request.running}
        doomed = sorted(at for at in scored if at[0] <= self.threshold and steps[at[1]] >= self.min_steps)
        spare = len(request.running) + len(request.finished) - self.min_keep
        return [Prune(index) for _, index in doomed[: max(0, spare)]]


@dataclass(frozen=True)
class Group:
    """Systems that score paths alike, so that a recorded problem is scored once for all.

    score: None where each system scores for itself, or none does. gate_dim: length of the vectors that a gate
    scores, 0 where there is none to pay for. coefficients: budgets by question, where they are given.
    """

    systems: Sequence[System]
    score: Score | None = None
    gate_dim: int = 0
    coefficients: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Control:
    """What a model ships with. shipped: as it is set. probability: from a path's features to the chance that
    it ends right, None without a gate. settings: by name, everything that an operator can make of it.
    """

    shipped: Controller
    settings: dict[str, Controller]
    ablations: dict[str, Controller]
    probability: Score | None
    gate: GateConfig | None
    budget_dims: tuple[int, int] | None

    @classmethod
    def load(
        cls,
        folder: Path,
        hidden_size: int,
        thinks: bool,
        settings: Mapping[str, dict[str, Any]] = SETTINGS,
    ) -> Control:
        """thinks: whether the model has a thinking segment. settings: SHIPPED and others, by their changes.

        Raises ControlConfigError.
        """
        config = ControlConfig.load(folder)

        def with_settings(changes: dict[str, Any], policy: bool = True) -> Controller:
            parsed = ControlSettings.model_validate(changes)
            its = config if config is None or policy else config.model_copy(update={"policy": None})
            return load_controller(folder, its, parsed, hidden_size, thinks)

        controllers = {name: with_settings(changes) for name, changes in settings.items()}
        shipped = controllers[SHIPPED]
        ablations: dict[str, Controller] = {}
        if config and (config.gate or config.budget):
            ablations = {name: with_settings(changes) for name, changes in ABLATIONS.items()}
            if config.policy:
                ablations["without policy"] = with_settings({}, policy=False)
        gate = config.gate if config else None
        budget = config.budget if config else None
        return cls(
            shipped,
            controllers,
            ablations,
            probability_of(shipped.score, gate) if gate else None,
            gate,
            (budget.input_dim, budget.hidden_dim) if budget else None,
        )


def probability_of(score: Score, gate: GateConfig) -> Score:
    """The calibrated probability behind a gate's score, which is bent so that its threshold is a promise."""
    at: float = GateConfig.model_fields["threshold"].default
    promise = Promise(at if gate.promised_probability is None else gate.promised_probability, at)

    def probability(features: Tensor) -> Tensor:
        return torch.tensor([promise.probability_of(s) for s in score(features).tolist()])

    return probability


def greedy_group(token_cap: int) -> Group:
    """What greedy recordings are replayed by."""
    return Group([System("greedy", SingleSample(token_cap), 0.0, method="greedy")])


def groups(control: Control, token_cap: int, paths: int) -> list[Group]:
    """All that any problem is replayed by, the oracle aside."""
    gate_dim = control.gate.hidden_dim if control.gate else 0
    shipped = [System(n, c, method=SHIPPED, timing=timing_of(c)) for n, c in control.settings.items()]
    shipped += [System(n, c, method=n, timing=timing_of(c)) for n, c in control.ablations.items()]
    found = [
        Group([s for s in plain_systems(token_cap, paths) if s.temperature > 0]),
        Group(shipped, control.shipped.score if control.gate else None, gate_dim),
    ]
    if control.gate and control.probability:
        gated = gate_systems(control.probability, token_cap, paths)
        gated += pruning_systems(control.probability, control.gate, token_cap, paths)
        found.append(Group(gated, control.probability, gate_dim))
    return found


def timing_of(controller: Controller) -> Timing:
    """Under a policy paths wait for what others come to."""
    return "sequential" if getattr(controller, "policy", None) else "parallel"


def pruning_systems(score: Score, gate: GateConfig, token_cap: int, paths: int) -> list[System]:
    """The gate as a pruner at every probability, with the shipped guard and without one."""
    return [
        System(
            f"{method}, {threshold}",
            PruneBelow(score, paths, threshold, min_keep, gate.min_steps, token_cap),
            method=method,
        )
        for method, min_keep in ((PRUNING, gate.min_keep), (UNGUARDED, 0))
        for threshold in PROBABILITIES
    ]


def oracle_group(records: Sequence[ProblemRecord], token_cap: int, paths: int) -> Group:
    """pass@n, by what the verifier said of the recorded paths."""
    return Group(oracle_systems(recorded_verdicts(records), token_cap, paths))


def lookup_groups(
    control: Control, coefficients: Mapping[Cell, float] | None, records: Sequence[ProblemRecord]
) -> list[Group]:
    """The shipped control with its budget from a table by family and level, where there is such a table."""
    inner = control.ablations.get("without budget")
    if coefficients is None or inner is None:
        return []
    table = {r.question: coefficients[c] for r in records if (c := (r.family, r.level)) in coefficients}
    gate_dim = control.gate.hidden_dim if control.gate else 0
    system = System(LOOKUP, inner, method=LOOKUP, timing=timing_of(inner))
    return [Group([system], control.shipped.score if control.gate else None, gate_dim, table)]
