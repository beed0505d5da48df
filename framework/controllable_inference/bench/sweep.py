"""Everything that is replayed for one model: the baselines in all settings, and what it ships with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controllable_inference.bench.systems import (
    System,
    Timing,
    gate_systems,
    oracle_systems,
    plain_systems,
    recorded_verdicts,
)
from controllable_inference.core.baselines import GivenPrediction, SingleSample, WeightedVote
from controllable_inference.core.baselines.weighing import Score
from controllable_inference.core.calibration import Promise
from controllable_inference.core.config import ControlConfig, ControlSettings, GateConfig
from controllable_inference.core.controller import Controller, GatedController
from controllable_inference.core.load import load_gated
from controllable_inference.core.views import Decision, Prune, RequestView
from controllable_inference.learn.problems import Cell
from controllable_inference.learn.records import ProblemRecord

SHIPPED, LOOKUP = "shipped", "budget looked up"
POLICY_OFF, NO_PREDICTION = f"{SHIPPED}, policy off", "without budget"
PRUNING, UNGUARDED = "gate, pruning only", "gate, pruning only, unguarded"
PROBABILITIES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Chances of ending right at or under which a path is pruned, where nothing but pruning is looked at."""

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
Settings = Mapping[str, dict[str, Any]]
"""By name, what differs from the settings that a model ships with."""
AS_SHIPPED: Settings = {SHIPPED: {}}


def settings_of(config: ControlConfig | None, shipped: GatedController) -> Settings:
    """What an operator can set of the shipped controller: points of its frontier, each of which differs from
    it; and, of a model with a policy, of the same control with the policy off, which starts all paths at once
    and so has a frontier of its own.
    """
    if shipped.policy is None or config is None or config.gate is None:
        return dict(AS_SHIPPED) | _variations(SHIPPED, shipped.threshold) | _floors(SHIPPED)
    # coefficients above 1 only make a policy start sooner: all that there is may be spent at 1
    found = dict(AS_SHIPPED) | _variations(SHIPPED, shipped.threshold, ceilings=(0.25, 0.5, 1.0))
    off: dict[str, dict[str, Any]] = {POLICY_OFF: {}}
    off |= _variations(POLICY_OFF, config.gate.threshold) | _floors(POLICY_OFF)
    return found | {name: {**changes, "policy": {"enabled": False}} for name, changes in off.items()}


def _variations(
    name: str, threshold: float | None, ceilings: Sequence[float] = (0.25, 0.5)
) -> dict[str, dict[str, Any]]:
    """threshold: its own, which is left out."""
    return {
        **{f"{name}, {n} paths at most": {"path_pruning": {"max_paths": n}} for n in (2, 4, 6, 8, 12)},
        **{
            f"{name}, threshold {t}": {"path_pruning": {"threshold": t}} for t in THRESHOLDS if t != threshold
        },
        **{f"{name}, coefficient {c} at most": {"compute_budget": {"max_coefficient": c}} for c in ceilings},
    }


def _floors(name: str) -> dict[str, dict[str, Any]]:
    """Without a policy; with one a low prediction takes no paths away that a floor could give back."""
    return {
        f"{name}, coefficient {c} at least": {"compute_budget": {"min_coefficient": c}}
        for c in (0.25, 0.5, 1.0)
    }


@dataclass(frozen=True)
class Ablation:
    """changes: of the settings. gate: whether the model keeps its gate, which no setting takes away."""

    changes: dict[str, Any]
    gate: bool = True


NO_PRUNING: dict[str, Any] = {"path_pruning": {"enabled": False}}
NO_BUDGET: dict[str, Any] = {"compute_budget": {"enabled": False}}


def ablations_of(config: ControlConfig, shipped: GatedController) -> dict[str, Ablation]:
    """What is left of the control when a part of it is taken away, of the parts that the model has.

    Without a gate nothing is scored: nothing is pruned, votes count the same, and no policy has anything to
    go by. Without the policy alone the threshold stays what it was beside it.
    """
    found: dict[str, Ablation] = {}
    if config.gate:
        found["without pruning"] = Ablation(NO_PRUNING)
        found["without gate"] = Ablation(NO_PRUNING, gate=False)
    if config.budget:
        found[NO_PREDICTION] = Ablation(NO_BUDGET)
    if config.gate and config.budget:
        found["without gate and budget"] = Ablation({**NO_PRUNING, **NO_BUDGET}, gate=False)
    if shipped.policy is not None:
        kept = {"path_pruning": {"threshold": shipped.threshold}}
        found["without policy"] = Ablation({**kept, "policy": {"enabled": False}})
    return found


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
    scores, 0 where there is none to pay for.
    """

    systems: Sequence[System]
    score: Score | None = None
    gate_dim: int = 0


@dataclass(frozen=True)
class Control:
    """What a model ships with. shipped: as it is set. probability: from a path's features to the chance that
    it ends right, None without a gate. settings: by name, everything that an operator can make of it.
    """

    shipped: GatedController
    settings: dict[str, GatedController]
    ablations: dict[str, GatedController]
    probability: Score | None
    gate: GateConfig | None
    budget_dims: tuple[int, int] | None

    @classmethod
    def load(
        cls,
        folder: Path,
        hidden_size: int,
        thinks: bool,
        settings: Settings | None = None,
    ) -> Control:
        """thinks: whether the model has a thinking segment. settings: `settings_of` it, if not said.

        Raises ControlConfigError.
        """
        config = ControlConfig.load(folder)

        def with_settings(changes: dict[str, Any], its: ControlConfig | None = config) -> GatedController:
            parsed = ControlSettings.model_validate(changes)
            return load_gated(folder, its, parsed, hidden_size, thinks)

        shipped = with_settings({})
        wanted = settings_of(config, shipped) if settings is None else settings
        ablations: dict[str, GatedController] = {}
        if config:
            gateless = config.model_copy(update={"gate": None})
            ablations = {
                name: with_settings(without.changes, config if without.gate else gateless)
                for name, without in ablations_of(config, shipped).items()
            }
        gate = config.gate if config else None
        budget = config.budget if config else None
        return cls(
            shipped,
            {name: with_settings(changes) for name, changes in wanted.items()},
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
    shipped = []
    for name, controller in control.settings.items():
        method = SHIPPED if control.shipped.policy is None or controller.policy else POLICY_OFF
        shipped.append(System(name, controller, method=method, timing=timing_of(controller)))
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


def timing_of(controller: GatedController) -> Timing:
    """Under a policy paths wait for what others come to."""
    return "sequential" if controller.policy else "parallel"


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
    """The shipped control with predictions from a table by family and level, where there is such a table;
    1 for problems of other kinds.
    """
    if coefficients is None or control.budget_dims is None:
        return []
    predicted = {r.question: coefficients.get((r.family, r.level), 1.0) for r in records}
    inner = control.shipped

    def looked_up(question: str) -> Controller:
        return GivenPrediction(inner, predicted[question])

    system = System(LOOKUP, None, method=LOOKUP, timing=timing_of(inner), of_question=looked_up)
    gate_dim = control.gate.hidden_dim if control.gate else 0
    return [Group([system], inner.score if control.gate else None, gate_dim)]
