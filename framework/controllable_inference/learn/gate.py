"""Training of PathGate: will this path end right, and which of a problem's paths will?

Trained on the verifier's word with two losses. Binary cross-entropy makes scores probabilities; a
logistic loss on pairs of a right and a wrong path of the same problem (RankNet, Burges et al. 2005)
makes the gate tell paths apart, where cross-entropy alone mostly learns how hard the problem is.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from controllable_inference.core.calibration import Calibration
from controllable_inference.core.gate import PathGate
from controllable_inference.learn import statistics
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.statistics import Bin, auc, within_auc


@dataclass(frozen=True)
class GateRecipe:
    """pair_weight: weight of the pairwise loss beside cross-entropy. problems: problems a step.

    hidden_scale: of the standardised hidden states. They are many and mostly tell how hard a problem is; at
    full scale the few statistics beside them, which tell its paths apart, are learned from too late.
    """

    steps: int = 1500
    problems: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    hidden_scale: float = 0.1
    hidden_dropout: float = 0.5
    statistic_dropout: float = 0.1
    pair_weight: float = 2.0
    seed: int = 1


def moment(record: ProblemRecord, now: int) -> list[tuple[PathRecord, int]]:
    """Each path's latest step boundary once `now` tokens are generated; paths without one are left out."""
    seen = [(path, sum(end <= now for end in path.boundaries) - 1) for path in record.paths]
    return [(path, step) for path, step in seen if step >= 0]


def _sample(records: list[ProblemRecord], rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Features (n, F), outcomes (n,) and problem numbers (n,), each problem at a random moment; where none
    has come to a step by then, at the problems' ends.
    """
    longest = [max(path.tokens for path in record.paths) for record in records]
    seen = [moment(record, rng.randint(1, most)) for record, most in zip(records, longest, strict=True)]
    if not any(seen):
        seen = [moment(record, most) for record, most in zip(records, longest, strict=True)]
    rows = [(path, step, group) for group, paths in enumerate(seen) for path, step in paths]
    features = torch.stack([path.features[step] for path, step, _ in rows]).float()
    return (
        features,
        torch.tensor([float(row[0].right) for row in rows]),
        torch.tensor([row[2] for row in rows]),
    )


def pairwise_loss(logits: Tensor, outcomes: Tensor, groups: Tensor) -> Tensor:
    """Mean of softplus(wrong - right) over all pairs of a right and a wrong path of one group; 0 without."""
    pairs = (groups[:, None] == groups[None]) & (outcomes[:, None] > outcomes[None])
    if not pairs.any():
        return logits.sum() * 0
    return softplus(logits[None] - logits[:, None])[pairs].mean()


def train_gate(
    train: list[ProblemRecord], validation: list[ProblemRecord], recipe: GateRecipe, hidden_columns: int
) -> tuple[PathGate, float]:
    """The gate with the lowest validation loss seen, and that loss.

    train and validation each have a path with a step. hidden_columns: how many columns of the features, the
    first ones, are hidden states. Features are
    standardised in training; the scaling is folded into the first layer afterwards, so the saved gate takes
    raw feature vectors.
    """
    torch.manual_seed(recipe.seed)
    rng = random.Random(recipe.seed)
    everything = torch.cat([path.features.float() for record in train for path in record.paths])
    hidden = slice(0, hidden_columns)
    mean, scale = everything.mean(0), everything.std(0).clamp_min(1e-4)
    scale[hidden] /= recipe.hidden_scale
    gate = PathGate(everything.shape[1])
    optimizer = torch.optim.AdamW(gate.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps)

    drop = torch.full_like(mean, recipe.statistic_dropout)
    drop[hidden] = recipe.hidden_dropout

    def loss_of(batch: tuple[Tensor, Tensor, Tensor], training: bool) -> Tensor:
        features, outcomes, groups = batch
        inputs = (features - mean) / scale
        if training:
            inputs = inputs * (torch.rand_like(inputs) >= drop) / (1 - drop)
        logits = gate.net[:-1](inputs).squeeze(-1)
        fit = binary_cross_entropy_with_logits(logits, outcomes)
        return fit + recipe.pair_weight * pairwise_loss(logits, outcomes, groups)

    stepping = [record for record in train if any(path.boundaries for path in record.paths)]
    checks = [_sample(validation, random.Random(seed)) for seed in range(4)]
    best, best_loss = copy.deepcopy(gate.state_dict()), float("inf")
    for step in range(1, recipe.steps + 1):
        loss = loss_of(_sample(rng.sample(stepping, min(recipe.problems, len(stepping))), rng), training=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == recipe.steps:
            with torch.no_grad():
                checked = sum(loss_of(check, training=False).item() for check in checks) / len(checks)
            if checked < best_loss:
                best, best_loss = copy.deepcopy(gate.state_dict()), checked
    gate.load_state_dict(best)
    with torch.no_grad():
        first = gate.net[0]
        assert isinstance(first, torch.nn.Linear)
        first.weight.copy_(first.weight / scale)
        first.bias.copy_(first.bias - first.weight @ mean)
    return gate.eval(), best_loss


def _binned(
    score: Callable[[Tensor], Tensor], records: list[ProblemRecord], min_steps: int, bins: int
) -> list[Bin]:
    """Over all boundaries from `min_steps` on; every path weighs the same, however many steps it has."""
    rows: list[tuple[float, float, float]] = []
    with torch.no_grad():
        for record in records:
            for path in record.paths:
                its = score(path.features.float()[max(min_steps - 1, 0) :]).tolist()
                rows += [(score, float(path.right), 1 / len(its)) for score in its]
    scores, outcomes, weights = (np.array(column) for column in zip(*rows, strict=True))
    return statistics.calibration_bins(scores, outcomes, weights, bins)


def calibrate(gate: PathGate, records: list[ProblemRecord], min_steps: int, bins: int = 40) -> Calibration:
    """Isotonic map from raw score to the chance of ending right; of few `bins`, which keep it short."""
    binned = _binned(lambda features: gate(features[None])[0], records, min_steps, bins)
    return Calibration.fit([b.score for b in binned], [b.outcome for b in binned], [b.weight for b in binned])


def calibration_error(
    score: Callable[[Tensor], Tensor], records: list[ProblemRecord], min_steps: int, bins: int = 10
) -> float:
    """That of `metrics`, over all boundaries at which a path may be pruned."""
    return statistics.calibration_error(_binned(score, records, min_steps, bins))


def lowest_scores(
    score: Callable[[Tensor], Tensor], records: list[ProblemRecord], min_steps: int
) -> list[list[float]]:
    """For each problem with right paths, the lowest score of each of these at the boundaries from `min_steps`
    on; a path with none has 1.0, for nothing can prune it.
    """
    found = []
    for record in records:
        right = [path.features.float()[max(min_steps - 1, 0) :] for path in record.paths if path.right]
        if right:
            found.append([float(score(features).min()) if len(features) else 1.0 for features in right])
    return found


def discrimination(gate: PathGate, records: list[ProblemRecord]) -> dict[str, dict[str, float | None]]:
    """AUC pooled and within a problem, when paths are 25, 50 and 75 % through their own steps."""
    figures = {}
    for share in (0.25, 0.5, 0.75):
        scores, outcomes, groups = [], [], []
        for group, record in enumerate(records):
            paths = [path for path in record.paths if path.boundaries]
            for path in paths:
                step = min(len(path.boundaries) - 1, int(share * len(path.boundaries)))
                with torch.no_grad():
                    scores.append(float(gate(path.features[step].float()[None, None])))
                outcomes.append(float(path.right))
                groups.append(group)
        figures[f"{share:.0%}"] = {
            "pooled": auc(scores, outcomes),
            "within": within_auc(scores, outcomes, groups),
        }
    return figures
