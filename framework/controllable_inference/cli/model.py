"""Commands on a model's files: bring them, and explain an answer of theirs."""

from pathlib import Path
from typing import Annotated

import typer

from controllable_inference.cli.application import app, given, say
from controllable_inference.errors import ControllableError, ModelNotFound


@app.command()
def explain(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    model: Annotated[str, typer.Option(help="A folder or image:///path.")] = "image:///models/nano",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FILE.html, .svg, .json or .txt; left out, text is printed."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Coefficient in [0, 2], or none, minimal, low, medium, high.")
    ] = None,
    paths: Annotated[
        int | None, typer.Option(min=1, help="Paths to start; left out, what the budget buys.")
    ] = None,
    max_paths: Annotated[int | None, typer.Option(help="Most paths that think in parallel.")] = None,
    thinking_tokens: Annotated[
        int | None, typer.Option(min=0, help="Most tokens that a path thinks before it has to answer.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds; then the paths so far are voted on.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
) -> None:
    """Ask a model in this process, and show what led to the answer: paths, scores by step, vote.

    Example: `controllable-inference explain "Spell this word backward (example: sun -> nus): planet"
    --budget high -o why.html`
    """
    from controllable_inference.explain.command import check_output, explain_question, written
    from controllable_inference.fetch import local_source

    if output is not None:
        check_output(output)
    limits = given(paths=paths, max_paths=max_paths, thinking_tokens=thinking_tokens, deadline=deadline)
    explanation = explain_question(local_source(model), question, budget, limits, seed)
    if output is None:
        typer.echo(explanation.text(), nl=False)
    else:
        output.write_text(written(explanation, output.suffix), encoding="utf-8")
        say(f"{output}: {explanation.answer or 'no answer'}")


@app.command()
def fetch(
    uri: Annotated[
        str,
        typer.Argument(
            help="hf://org/repo, s3://bucket/prefix, https://host/model.tar.gz, pvc://claim/path, "
            "oci://image, image:///path, or a folder."
        ),
    ],
    to: Annotated[Path, typer.Option(help="Where the model's folder shall appear.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of an hf:// repository.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="sha256:… that must come out; a run without it prints it.")
    ] = None,
    make_room: Annotated[
        bool, typer.Option(help="Remove models beside it that nobody serves, where the disk is too small.")
    ] = False,
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="What comes is the model's LoRA adapter of this name.")
    ] = None,
) -> None:
    """Bring a model's files to a folder: a link where they are here already, else a download that can go on.

    Example: `controllable-inference fetch hf://org/repo --to ./model --revision main`
    """
    from controllable_inference.fetch import ADAPTER, MODEL
    from controllable_inference.fetch import fetch as fetch_model
    from controllable_inference.serving.termination import write_termination_log

    kind, whose = (MODEL, "") if adapter is None else (ADAPTER, f"adapter {adapter}: ")
    try:
        found = fetch_model(uri, to, revision, digest, make_room, kind, progress=say)
    except ModelNotFound as error:
        write_termination_log("ModelNotFound", f"{whose}{error}")
        raise
    except (ControllableError, OSError) as error:
        write_termination_log("ModelFetchFailed", f"{whose}{error}")
        raise
    write_termination_log("Fetched", uri, digest=found.digest, size=found.size)
