"""Makes models/nano from nothing but this code: `python -m controllable_inference.training.nano`.

Stages, each of which leaves its work in `--work` and goes on where it was when the command is run again: the
language model, recordings of it at work, its control, and an evaluation on unseen problems.
"""

import json
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import GenerationConfig

from controllable_inference.evaluation import report
from controllable_inference.evaluation.run import SEED as SEED_OF_EVALUATION
from controllable_inference.evaluation.run import test_problems
from controllable_inference.evaluation.suite import Evaluation, evaluate
from controllable_inference.evaluation.systems import default_systems
from controllable_inference.model import ControllableInference
from controllable_inference.training import base, card, pipeline
from controllable_inference.training.progress import Progress
from controllable_inference.training.rollouts import TOKEN_CAP
from controllable_inference.training.task import suite
from controllable_inference.training.tokenizer import build_tokenizer

EVALUATED, CONCURRENCY = 300, 16


def train_base(work: Path, output: Path, progress: Progress) -> tuple[dict[str, Any], int]:
    """The language model, saved to `output`; what it cost over all its runs, and its size."""
    recipe = base.BaseRecipe()
    tokenizer = build_tokenizer()

    def tell(step: int, loss: float, speed: float) -> None:
        progress.say(f"base: step {step} of {recipe.steps}, loss {loss:.4f}, {speed:.0f} tokens/s")

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


def evaluate_shipped(output: Path, progress: Progress) -> Evaluation:
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
        progress.say(f"{measured.system}: {measured.accuracy()}, {measured.tokens().mean:.0f} tokens")
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
    """Train the nano reasoner and its control; evaluate; write the model card."""
    torch.set_num_threads(threads)
    pipeline.check_writable(output)
    work.mkdir(parents=True, exist_ok=True)
    progress = Progress(file=work / "seconds.json")
    draft = work / "model"
    shutil.rmtree(draft, ignore_errors=True)

    with progress.stage("base"):
        cost, parameters = train_base(work, draft, progress)
    config = pipeline.train(
        draft,
        suite(),
        list(pipeline.Part),
        work=work,
        options=pipeline.Options(tested=True),
        progress=progress,
    )
    with progress.stage("evaluation"):
        evaluation = evaluate_shipped(draft, progress)

    names = ("torch", "transformers", "reasoning-gym")
    data = {
        **config.data,
        "base_recipe": asdict(base.BaseRecipe()),
        "base_cost": cost,
        "parameters": parameters,
        "seconds": progress.seconds,
        "versions": {name: version(name) for name in names},
    }
    figures = {**config.figures, "test_served": report.as_json(evaluation)}
    config.model_copy(update={"data": data, "figures": figures}).save(draft)
    (draft / "README.md").write_text(
        card.render(data, config.model_dump(), figures, report.markdown(evaluation)), encoding="utf-8"
    )
    (work / "figures.json").write_text(json.dumps({"data": data, "figures": figures}, indent=2) + "\n")

    for made_file in sorted(draft.iterdir()):
        shutil.copyfile(made_file, output / made_file.name)
    progress.say(f"written: {output}")


if __name__ == "__main__":
    typer.run(main)
