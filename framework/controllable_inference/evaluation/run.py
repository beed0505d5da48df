"""The command core of `controllable-inference eval`."""

import json
import math
import random
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from controllable_inference.evaluation import report
from controllable_inference.evaluation.problems import FAMILIES, Problem, Split, draw_split
from controllable_inference.evaluation.suite import Evaluation, evaluate
from controllable_inference.evaluation.systems import default_systems
from controllable_inference.model import ControllableInference

SEED = 2025
TOKEN_CAP = 512  # of one path, the same for every system without a controller of its own


def test_problems(count: int, seed: int) -> list[Problem]:
    """`count` shuffled problems of the test split, spread evenly over families and levels."""
    per_cell = math.ceil(count / (3 * len(FAMILIES)))
    problems = draw_split(Split.TEST, per_cell, seed)
    return random.Random(seed).sample(problems, min(count, len(problems)))


def run(model: str | Path, problems: int, seed: int, concurrency: int, console: Console) -> Evaluation:
    """Evaluate a checkpoint's shipped controller beside the baselines, with progress on `console`."""
    drawn = test_problems(problems, seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ControllableInference.from_pretrained(model) as loaded, Progress(*columns, console=console) as bar:
        systems = default_systems(TOKEN_CAP)
        tasks = {system.name: bar.add_task(system.name, total=len(drawn)) for system in systems}
        return evaluate(
            loaded.engine,
            drawn,
            systems,
            seed=seed,
            concurrency=concurrency,
            progress=lambda system, answered: bar.update(tasks[system], completed=answered),
        )


def main(
    model: str | Path = "models/nano",
    problems: int = 300,
    seed: int = SEED,
    concurrency: int = 16,
    output: Path = Path("build/eval"),
) -> Evaluation:
    """Evaluate, print the table, and write `output`/report.md and report.json."""
    console = Console()
    evaluation = run(model, problems, seed, concurrency, console)
    console.print(report.table(evaluation))
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.md").write_text(report.markdown(evaluation), encoding="utf-8")
    (output / "report.json").write_text(json.dumps(report.as_json(evaluation), indent=2) + "\n")
    console.print(f"written: {output / 'report.md'}, {output / 'report.json'}")
    return evaluation
