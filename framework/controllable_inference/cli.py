"""The command `controllable-inference`. Heavy modules are imported by the commands that need them."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from controllable_inference.errors import ControllableError

app = typer.Typer(
    name="controllable-inference",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Serve reasoning models and keep their thinking under control.

    Try it on this machine, without a cluster:

    - `controllable-inference serve examples/nano.yaml` — serve the shipped nano model
    - `controllable-inference ask "Spell this word backward (example: sun -> nus): planet"` — in another
      terminal: answer, paths, tokens
    - `curl http://127.0.0.1:8080/v1/models` — any OpenAI client works: base URL `http://127.0.0.1:8080/v1`
    """,
)

HttpPort = Annotated[
    int, typer.Option(envvar="CONTROLLABLE_TRITON_HTTP_PORT", help="Triton's HTTP, on loopback.")
]
GrpcPort = Annotated[
    int, typer.Option(envvar="CONTROLLABLE_TRITON_GRPC_PORT", help="Triton's gRPC, on loopback.")
]
MetricsPort = Annotated[
    int, typer.Option(envvar="CONTROLLABLE_TRITON_METRICS_PORT", help="Triton's metrics, on loopback.")
]


def _say(message: str) -> None:
    typer.echo(message, err=True)


@app.command()
def serve(
    manifest: Annotated[Path, typer.Argument(help="A ControllableModel, as `kubectl apply` takes it.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the OpenAI API.")] = 8080,
) -> None:
    """Serve a manifest on this machine: weights, Triton and OpenAI API, no cluster. Ctrl-C stops it.

    Example: `controllable-inference serve examples/nano.yaml --port 8080`
    """
    from controllable_inference.serving.local import serve as serve_locally

    serve_locally(manifest, host, port, _say)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    url: Annotated[str, typer.Option(help="A running server.")] = "http://127.0.0.1:8080",
    coefficient: Annotated[
        float | None, typer.Option(help="Budget in [0, 2]; left out, the model decides by the question.")
    ] = None,
    effort: Annotated[str | None, typer.Option(help="none, minimal, low, medium or high.")] = None,
    max_paths: Annotated[int | None, typer.Option(help="Most paths that think in parallel.")] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds; then the paths so far are voted on.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
) -> None:
    """Ask a running server a question; shows thinking, answer and what it took.

    Example: `controllable-inference ask "Find the Greatest Common Divisor (GCD) of these numbers: 84, 36.
    Give only the GCD as your final answer." --coefficient 0.5`
    """
    from rich.console import Console

    from controllable_inference.serving.ask import ask as ask_server

    control = _given(coefficient=coefficient, max_paths=max_paths, deadline=deadline)
    options = _given(controllable=control or None, reasoning_effort=effort, seed=seed)
    ask_server(url, question, options, Console())


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
    max_paths: Annotated[int | None, typer.Option(help="Most paths that think in parallel.")] = None,
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
    from controllable_inference.serving.fetch import local_source

    if output is not None:
        check_output(output)
    explanation = explain_question(local_source(model), question, budget, max_paths, deadline, seed)
    if output is None:
        typer.echo(explanation.text(), nl=False)
    else:
        output.write_text(written(explanation, output.suffix), encoding="utf-8")
        _say(f"{output}: {explanation.answer or 'no answer'}")


@app.command()
def fetch(
    uri: Annotated[str, typer.Argument(help="image:///path, hf://org/repo, pvc://claim/path, or a folder.")],
    to: Annotated[Path, typer.Option(help="Where the model's folder shall appear.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of an hf:// repository.")
    ] = None,
) -> None:
    """Bring a model's files to a folder: a link where they are here already, else a download that can go on.

    Example: `controllable-inference fetch hf://org/repo --to ./model --revision main`
    """
    from controllable_inference.serving.fetch import fetch as fetch_model
    from controllable_inference.serving.termination import write_termination_log

    try:
        fetch_model(uri, to, revision, progress=_say)
    except (ControllableError, OSError) as error:
        write_termination_log("ModelNotFound", str(error))
        raise


@app.command()
def triton(
    http_port: HttpPort = 8000,
    grpc_port: GrpcPort = 8001,
    metrics_port: MetricsPort = 8002,
    install: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only unpack tritonserver into DIR (for images).")
    ] = None,
    install_only: Annotated[bool, typer.Option(help="Only unpack tritonserver into the cache.")] = False,
) -> None:
    """Become tritonserver, serving the engine that CONTROLLABLE_ENGINE_CONFIG describes.

    Installs tritonserver first where neither CONTROLLABLE_TRITON_HOME nor the cache has it.
    """
    from controllable_inference.serving import triton as server

    if install is not None:
        typer.echo(server.install_triton(install, _say))
        return
    if install_only:
        typer.echo(server.ensure_triton(_say))
        return
    from controllable_inference.serving.config import load_engine_config
    from controllable_inference.serving.termination import write_termination_log

    try:
        drain = load_engine_config().serving.drain_timeout_seconds
        server.exec_triton(server.Ports(http_port, grpc_port, metrics_port), drain, _say)
    except ControllableError as error:
        write_termination_log("ModelLoadFailed", str(error))
        raise


@app.command()
def frontend(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(help="Port of the OpenAI API.")] = 8080,
    http_port: HttpPort = 8000,
    grpc_port: GrpcPort = 8001,
    metrics_port: MetricsPort = 8002,
    silence: Annotated[
        float,
        typer.Option(
            envvar="CONTROLLABLE_SILENCE_SECONDS", help="Longest gap between two responses of Triton."
        ),
    ] = 30.0,
) -> None:
    """The OpenAI API in front of a tritonserver on this machine."""
    from controllable_inference.serving.config import load_engine_config
    from controllable_inference.serving.frontend.server import run_frontend
    from controllable_inference.serving.frontend.settings import FrontendSettings
    from controllable_inference.serving.triton import Ports

    engine = load_engine_config()
    run_frontend(
        FrontendSettings(
            model=engine.model.name,
            trace=engine.control.trace,
            host=host,
            port=port,
            triton=Ports(http_port, grpc_port, metrics_port),
            silence=silence,
            drain=engine.serving.drain_timeout_seconds,
        )
    )


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A folder or image:///path.")] = "image:///models/nano",
    problems: Annotated[int, typer.Option(help="How many unseen problems.")] = 300,
    seed: Annotated[int, typer.Option(help="Seed of problems and sampling.")] = 2025,
    concurrency: Annotated[int, typer.Option(help="Problems in flight.")] = 16,
    output: Annotated[Path, typer.Option(help="Where report.md and report.json go.")] = Path("build/eval"),
) -> None:
    """Measure accuracy and cost: one sample, majority vote, and the controlled engine, on the same problems.

    Example: `controllable-inference eval --problems 50`
    """
    from controllable_inference.evaluation.run import main as run_evaluation
    from controllable_inference.serving.fetch import local_source

    run_evaluation(local_source(model), problems, seed, concurrency, output)


@app.command()
def train_nano(
    output: Annotated[Path, typer.Option(help="Folder of the finished model.")] = Path("models/nano"),
    work: Annotated[Path, typer.Option(help="Checkpoints and recordings; resumed from.")] = Path(
        "build/nano"
    ),
    threads: Annotated[int, typer.Option(help="CPU threads; two on shared cores are slower than one.")] = 1,
) -> None:
    """Train the nano reasoner, its gate and its budget predictor from nothing (about an hour).

    Example: `controllable-inference train-nano --output ./my-nano`
    """
    from controllable_inference.training.nano import main as train

    train(output, work, threads)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def main() -> None:
    """Run the command; what goes wrong on purpose is one line and exit status 1, never a traceback."""
    try:
        app()
    except ControllableError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(0)  # the reader has left; there is nobody to tell


if __name__ == "__main__":
    main()
