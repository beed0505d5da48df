"""Commands that train a model's control."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controllable_inference.cli.application import app


class OnVerifierError(StrEnum):
    """What a verifier that raises means: stop, or count the answer as wrong."""

    FAIL = "fail"
    WRONG = "wrong"


train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Train a model's control on a task of yours: sample, judge, train, calibrate, write control.json.

    A **task** is problems and a verifier that says which answers are right. Without one of your own the
    built-in reasoning-gym suite is used, which the nano model knows. Yours is one of:

    - `--problems FILE.jsonl` — a line for each problem, `{"question": "…", "answer": "…"}`; right is what
      equals the answer: numbers by value, text without case
    - `--task module:function` — a Python function that returns a `controllable_inference.learn.task.Task`
      with a verifier of yours; `examples/gcd_task.py` is one
    - `--task NAME` — what an installed package offers in the entry points `controllable_inference.tasks`

    Problems are split by a hash of their question: 60 % to learn from (split *gate*), 10 % to choose by
    (*validation*), 20 % to set the threshold by (*calibration*), and 10 % (*test*) that no part ever sees.
    The promise to keep 98 % of right paths takes at least 49 calibration problems that have right paths: have
    300 problems or more.

    What was sampled is kept in `--work`: a run that was stopped goes on where it was, and so does one with
    more problems. Another verifier, or another part, samples nothing anew.
    """,
)
app.add_typer(train, name="train")


def _train_command(*parts: str) -> Callable[..., None]:
    """The command that trains these parts; they differ in nothing else."""

    def command(
        model: Annotated[
            str, typer.Argument(help="A folder, image:///path, or a Hugging Face repository (hf://org/repo).")
        ],
        task: Annotated[
            str, typer.Option(help="reasoning-gym, module:function, or a task that a package offers.")
        ] = "reasoning-gym",
        problems: Annotated[
            Path | None,
            typer.Option(help="Problems and answers, one JSON object a line; takes --task's place."),
        ] = None,
        problems_per_split: Annotated[
            int | None, typer.Option(min=1, help="Most problems of each split; all if left out.")
        ] = None,
        paths: Annotated[int, typer.Option(min=2, max=64, help="Paths sampled of each problem.")] = 16,
        temperature: Annotated[float, typer.Option(min=0.01, max=2.0, help="Of the sampling.")] = 1.0,
        max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of one path.")] = 512,
        seed: Annotated[int, typer.Option(help="Same seed, same paths.")] = 7,
        recall: Annotated[
            float,
            typer.Option(min=0.5, max=0.999, help="Share of right paths that the gate's threshold keeps."),
        ] = 0.98,
        on_verifier_error: Annotated[
            OnVerifierError, typer.Option(help="A verifier that raises: stop, or take the answer for wrong.")
        ] = OnVerifierError.FAIL,
        test: Annotated[
            bool, typer.Option(help="Report on the test split too, which is sampled for it.")
        ] = False,
        output: Annotated[
            Path | None,
            typer.Option(help="Folder for control.json and its weights; beside the model if not said."),
        ] = None,
        work: Annotated[Path, typer.Option(help="Recordings; resumed from.")] = Path("build/train"),
        concurrency: Annotated[int, typer.Option(min=1, max=64, help="Problems in flight.")] = 32,
        threads: Annotated[
            int | None,
            typer.Option(min=1, help="CPU threads; all cores if left out, which slows shared ones."),
        ] = None,
    ) -> None:
        from controllable_inference.learn.command import train as run

        run(
            parts,
            model,
            task=task,
            problems=problems,
            problems_per_split=problems_per_split,
            paths=paths,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            recall=recall,
            tolerant=on_verifier_error is OnVerifierError.WRONG,
            tested=test,
            output=output,
            work=work,
            concurrency=concurrency,
            threads=threads,
        )

    return command


train.command(
    "gate",
    help="""Train the gate, which says of a path whether it will end right; everything else stays.

    Example: `controllable-inference train gate ./my-model --problems mine.jsonl`
    """,
)(_train_command("gate"))
train.command(
    "budget",
    help="""Train the budget predictor, which says how much a question deserves; everything else stays.

    When to skip thinking is chosen beside the gate that is there: train that first.

    Example: `controllable-inference train budget ./my-model --problems mine.jsonl`
    """,
)(_train_command("budget"))
train.command(
    "policy",
    help="""Train the policy, which says when another path is worth its tokens; everything else stays.

    It learns beside the gate and the budget predictor that are there: train those first. Some minutes, as
    several policies are trained for different rewards; the one that spends least at the accuracy of a vote
    among all paths is kept.

    Example: `controllable-inference train policy ./my-model --problems mine.jsonl`
    """,
)(_train_command("policy"))


@train.command("early-exit")
def train_early_exit(
    model: Annotated[
        str, typer.Argument(help="A folder, image:///path, or a Hugging Face repository (hf://org/repo).")
    ],
    task: Annotated[
        str, typer.Option(help="reasoning-gym, module:function, or a task that a package offers.")
    ] = "reasoning-gym",
    problems: Annotated[
        Path | None,
        typer.Option(help="Problems and answers, one JSON object a line; takes --task's place."),
    ] = None,
    most: Annotated[
        int | None, typer.Option("--problems-per-split", min=1, help="Most problems; all if left out.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps from one trial answer to the next.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.01, max=2.0, help="Of the sampling.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of one path.")] = 512,
    seed: Annotated[int, typer.Option(help="Same seed, same paths.")] = 7,
    on_verifier_error: Annotated[
        OnVerifierError, typer.Option(help="A verifier that raises: stop, or take the answer for wrong.")
    ] = OnVerifierError.FAIL,
    output: Annotated[
        Path | None, typer.Option(help="Folder for control.json; beside the model if not said.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Problems in flight.")] = 32,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores if left out, which slows shared ones.")
    ] = None,
) -> None:
    """Measure what it costs to end a path's thinking once its trial answers agree; everything else stays.

    With that in control.json, `control.earlyExit.maxRisk` of a resource (or of `from_pretrained`) says how
    many questions may lose a right answer to it, and the patience that keeps it follows from these figures.

    Example: `controllable-inference train early-exit ./my-model --problems mine.jsonl`
    """
    from controllable_inference.learn.command import calibrate_early_exit

    calibrate_early_exit(
        model,
        task=task,
        problems=problems,
        most=most,
        every=every,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        tolerant=on_verifier_error is OnVerifierError.WRONG,
        output=output,
        concurrency=concurrency,
        threads=threads,
    )


train.command(
    "all",
    help="""Train all parts, in the order in which they build on each other.

    Example: `controllable-inference train all models/nano --task examples.gcd_task:task --output ./control`
    """,
)(_train_command("gate", "budget", "policy"))
