"""Makes models/nano from nothing but this code: `python -m models.nano.recipe`.

Stages, each of which leaves its work in `--work` and goes on where it was when the command is run again: the
language model, recordings of it at work, and its control. `make eval` measures what came of it.
"""

import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from controllable_inference.learn import pipeline
from controllable_inference.learn.progress import Progress
from controllable_inference.learn.rollouts import TOKEN_CAP
from controllable_inference.learn.task import suite
from transformers import GenerationConfig

from models.nano.recipe import base, card
from models.nano.recipe.tokenizer import build_tokenizer


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


def main(
    output: Annotated[Path, typer.Option(help="Folder of the finished model.")] = Path("models/nano"),
    work: Annotated[Path, typer.Option(help="Checkpoints and recordings; resumed from.")] = Path(
        "build/nano"
    ),
    threads: Annotated[
        int, typer.Option(help="CPU threads; more wait for each other where cores are shared.")
    ] = 1,
) -> None:
    """Train the nano reasoner and its control; write the model card."""
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
        options=pipeline.TrainingOptions(tested=True),
        progress=progress,
    )

    names = ("torch", "transformers", "reasoning-gym")
    data = {
        **config.data,
        "base_recipe": asdict(base.BaseRecipe()),
        "base_cost": cost,
        "parameters": parameters,
        "seconds": progress.seconds,
        "versions": {name: version(name) for name in names},
    }
    config.model_copy(update={"data": data}).save(draft)
    written = card.render(data, config.model_dump(), config.figures)
    (draft / "README.md").write_text(written, encoding="utf-8")

    for made_file in sorted(draft.iterdir()):
        shutil.copyfile(made_file, output / made_file.name)
    progress.say(f"written: {output}")


if __name__ == "__main__":
    typer.run(main)
