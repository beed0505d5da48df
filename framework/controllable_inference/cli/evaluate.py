"""The command that measures a model's control."""

from pathlib import Path
from typing import Annotated

import typer

from controllable_inference.cli.application import app


@app.command("eval")
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A folder with weights and control.json, or image:///path.")
    ] = "image:///models/nano",
    problems: Annotated[
        int | None, typer.Option(min=1, help="Unseen problems; everything else is scaled with them. [1008]")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Seeds of sampling: the first on all problems, others on a part. [3]"),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            help="Serve a few systems for latency and throughput; without, the last time's is kept."
        ),
    ] = True,
    quick: Annotated[
        bool, typer.Option(help="A few problems, to see that everything works; writes to build/eval/quick.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder for results.md, results.json and results/. [docs]")
    ] = None,
    work: Annotated[Path, typer.Option(help="Recordings are kept here, by weights.")] = Path("build/eval"),
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many record and replay side by side. [the cores]")
    ] = None,
    second_model: Annotated[
        str | None,
        typer.Option(help='Folder or GGUF file of another model; "none" for none. [SmolLM2, if installed]'),
    ] = None,
) -> None:
    """Measure a model's control against every alternative, and write the page of results with its plots.

    Paths are sampled once and kept in `--work`; every system is replayed on them, so a second run is quick,
    also after gate, budget or policy were trained anew. Then a few systems are served in turns, for latency,
    throughput and overhead. On two cores the whole takes under half an hour.

    Example: `controllable-inference eval --quick`
    """
    from controllable_inference.bench import run
    from controllable_inference.fetch import local_source

    run.main(
        run.options_of(
            local_source(model),
            problems=problems,
            seeds=seeds,
            output=output,
            work=work,
            live=live,
            quick=quick,
            processes=processes,
            second=second_model,
        )
    )
