"""How well paths of one problem can be told apart at all, half-way through their steps.

    python benchmarks/gate_ceiling.py models/nano [--per-cell 6]

AUC within a problem of nano's gate, of the running log-probability, and of a judge who knows which lines a
true solution or a true check may hold and scores a path by the share of such lines so far. Where even this
judge can't tell paths apart, they have not yet gone wrong: no gate can see what has not happened.
"""

import argparse
from pathlib import Path

import torch
from controllable_inference.core.agreement import canonical
from controllable_inference.core.config import ControlConfig
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.gate import PathGate
from controllable_inference.learn.problems import (
    CONTROL_FAMILIES,
    Problem,
    Split,
    cells,
    draw_split,
    is_correct,
)
from controllable_inference.learn.recording import record
from controllable_inference.learn.records import PathRecord
from controllable_inference.learn.statistics import within_auc
from controllable_inference.model import ControllableInference

from models.nano.recipe.traces import NO, OK, SO, check, solve

PATHS, TOKEN_CAP, SEED = 16, 512, 79


def true_share(problem: Problem, text: str, steps: int) -> float:
    """Of a path's first lines, the share that a true solution or a true check holds."""
    lines = [line.text for line in (*solve(problem)[0], *check(problem, problem.answer)[0])]
    true = {canonical(line) for line in (*lines, SO + problem.answer, OK, NO)}
    written = [canonical(line) for line in text.splitlines()[:steps]]
    return sum(line in true for line in written) / len(written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--per-cell", type=int, default=6, help="problems of each family and level")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = draw_split(Split.VALIDATION, arguments.per_cell, SEED, cells(CONTROL_FAMILIES))
    config = ControlConfig.load(arguments.model)
    assert config is not None
    assert config.gate is not None
    gate = PathGate.load(arguments.model / config.gate.weights, config.gate.hidden_dim)
    with ControllableInference.from_pretrained(arguments.model) as model:
        seeds = range(len(problems))
        records = record(model.engine, problems, seeds, paths=PATHS, token_cap=TOKEN_CAP, judge=is_correct)
    logprob = STATISTICS.index("path_logprob") - len(STATISTICS)

    def seen(problem: Problem, path: PathRecord, share: float) -> tuple[float, float, float]:
        step = min(len(path.boundaries) - 1, int(share * len(path.boundaries)))
        features = path.features[step].float()
        score = float(gate(features[None, None]))
        return score, float(features[logprob]), true_share(problem, path.text, step + 1)

    print(f"{len(problems)} problems, {PATHS} paths each; AUC within a problem: gate, log-probability, judge")
    for share in (0.25, 0.5, 0.75, 1.0):
        rows = [
            (group, float(path.right), *seen(problem, path, share))
            for group, (problem, record) in enumerate(zip(problems, records, strict=True))
            for path in record.paths
            if path.boundaries
        ]
        groups, right, *scores = zip(*rows, strict=True)
        print(f"{share:.0%} of the steps:", *(f"{within_auc(its, right, groups):.3f}" for its in scores))


if __name__ == "__main__":
    with torch.no_grad():
        main()
