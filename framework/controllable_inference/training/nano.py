"""Makes models/nano from nothing but this code: `python -m controllable_inference.training.nano`.

Stages, each of which leaves its work in `--work` and is not repeated when the command is run again:
the language model, recordings of it at work, gate and budget, and an evaluation on unseen problems
through the engine. What is recorded belongs to one set of weights: its name carries their hash.
"""

import hashlib
import json
import shutil
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import GenerationConfig, LlamaForCausalLM

from controllable_inference.evaluation import records as recordings
from controllable_inference.evaluation import report
from controllable_inference.evaluation.problems import Split, draw_split
from controllable_inference.evaluation.records import ProblemRecord
from controllable_inference.evaluation.run import SEED as SEED_OF_EVALUATION
from controllable_inference.evaluation.run import test_problems
from controllable_inference.evaluation.suite import Evaluation, evaluate
from controllable_inference.evaluation.systems import default_systems
from controllable_inference.model import ControllableInference
from controllable_inference.training import base, card, control
from controllable_inference.training.rollouts import TOKEN_CAP, record
from controllable_inference.training.tokenizer import build_tokenizer

PER_CELL = {Split.GATE: 24, Split.VALIDATION: 8, Split.CALIBRATION: 8, Split.TEST: 10}
SEED = 7
EVALUATED, CONCURRENCY = 300, 16


class Clock:
    """Says what is going on and when; remembers in a file how long the stages took."""

    def __init__(self, file: Path) -> None:
        self.started = time.monotonic()
        self.file = file
        self.seconds: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}

    def say(self, text: str) -> None:
        """One line of progress, with the time since the start."""
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        typer.echo(f"[{minutes:02d}:{seconds:02d}] {text}")

    def stage(self, name: str, since: float) -> None:
        """Remember what a stage took; one that found its work done keeps the time of the run that did it."""
        took = round(time.monotonic() - since, 1)
        self.say(f"{name} done in {took:.0f} s")
        self.seconds[name] = max(took, self.seconds.get(name, 0.0))
        self.file.write_text(json.dumps(self.seconds))


def train_base(work: Path, output: Path, clock: Clock) -> tuple[dict[str, Any], int]:
    """The language model, saved to `output`; what it cost over all its runs, and its size."""
    recipe = base.BaseRecipe()
    tokenizer = build_tokenizer()

    def tell(step: int, loss: float, speed: float) -> None:
        clock.say(f"base: step {step} of {recipe.steps}, loss {loss:.4f}, {speed:.0f} tokens/s")

    model, cost = base.train(recipe, tokenizer, work / "base.pt", tell)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        max_new_tokens=TOKEN_CAP,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return cost, model.num_parameters()


def record_split(work: Path, output: Path, split: Split, clock: Clock) -> list[ProblemRecord]:
    """Recordings of the saved model on problems of one split; from `work` if they were made before."""
    fingerprint = hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest()[:12]
    path = work / f"records-{split}-{fingerprint}.pt"
    if path.exists():
        return recordings.load(path)
    problems = draw_split(split, PER_CELL[split], SEED)
    plain = LlamaForCausalLM.from_pretrained(output).eval()  # with its own attention, for whole sequences
    with ControllableInference.from_pretrained(output) as served:
        made = record(
            served.engine, plain, problems, SEED * 1_000_003, lambda text: clock.say(f"{split}: {text}")
        )
    recordings.save(made, path)
    return made


def evaluate_shipped(output: Path, clock: Clock) -> Evaluation:
    """The saved model and controller on unseen problems, through the engine."""
    problems = test_problems(EVALUATED, SEED_OF_EVALUATION)
    with ControllableInference.from_pretrained(output) as model:
        evaluation = evaluate(
            model.engine,
            problems,
            default_systems(TOKEN_CAP),
            seed=SEED_OF_EVALUATION,
            concurrency=CONCURRENCY,
        )
    for measured in evaluation.measured:
        clock.say(f"{measured.system}: {measured.accuracy()}, {measured.tokens().mean:.0f} tokens")
    return evaluation


def main(
    output: Annotated[Path, typer.Option(help="Folder of the finished model.")] = Path("models/nano"),
    work: Annotated[Path, typer.Option(help="Checkpoints and recordings; resumed from.")] = Path(
        "build/nano"
    ),
    threads: Annotated[
        int, typer.Option(help="CPU threads; more wait for each other where cores are shared.")
    ] = 1,
) -> None:
    """Train the nano reasoner, its gate and its budget predictor; evaluate; write the model card."""
    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    clock = Clock(work / "seconds.json")
    draft = work / "model"
    shutil.rmtree(draft, ignore_errors=True)

    since = time.monotonic()
    cost, parameters = train_base(work, draft, clock)
    clock.stage("base", since)

    since = time.monotonic()
    made = {split: record_split(work, draft, split, clock) for split in PER_CELL}
    clock.stage("recordings", since)

    since = time.monotonic()
    trained = control.train_control(
        made[Split.GATE], made[Split.VALIDATION], made[Split.CALIBRATION], clock.say
    )
    trained.gate.save(draft / "gate.safetensors")
    trained.budget.save(draft / "budget.safetensors")
    trained.config.save(draft)
    clock.stage("control", since)

    since = time.monotonic()
    evaluation = evaluate_shipped(draft, clock)
    clock.stage("evaluation", since)

    facts = {
        "base_recipe": asdict(base.BaseRecipe()),
        "base_cost": cost,
        "parameters": parameters,
        "recordings": {
            "seed": SEED,
            "problems": {split.value: len(records) for split, records in made.items()},
        },
        "seconds": clock.seconds,
        "versions": {name: version(name) for name in ("torch", "transformers", "reasoning-gym")},
    }
    figures = {
        "test_replay": control.figures(trained, made[Split.TEST]),
        "test_served": report.as_json(evaluation),
    }
    data = {**trained.config.data, **facts}
    trained.config.model_copy(update={"data": data, "figures": figures}).save(draft)
    (draft / "README.md").write_text(
        card.render(data, trained.config.model_dump(), figures, report.markdown(evaluation))
    )
    (work / "figures.json").write_text(json.dumps({"data": data, "figures": figures}, indent=2) + "\n")

    output.mkdir(parents=True, exist_ok=True)
    for made_file in sorted(draft.iterdir()):
        shutil.copyfile(made_file, output / made_file.name)
    clock.say(f"written: {output}")


if __name__ == "__main__":
    typer.run(main)
