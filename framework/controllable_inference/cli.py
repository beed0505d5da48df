"""The command `controllable-inference`. Heavy modules are imported by the commands that need them."""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from controllable_inference.errors import ControllableError, ModelNotFound

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


class OnVerifierError(StrEnum):
    """What a verifier that raises means: stop, or count the answer as wrong."""

    FAIL = "fail"
    WRONG = "wrong"


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
    model: Annotated[
        str | None, typer.Option(help="A model or adapter of it; left out, the first that it lists.")
    ] = None,
    coefficient: Annotated[
        float | None, typer.Option(help="Budget in [0, 2]; left out, the model decides by the question.")
    ] = None,
    effort: Annotated[str | None, typer.Option(help="none, minimal, low, medium or high.")] = None,
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
    """Ask a running server a question; shows thinking, answer and what it took.

    Example: `controllable-inference ask "Find the Greatest Common Divisor (GCD) of these numbers: 84, 36.
    Give only the GCD as your final answer." --coefficient 0.5`
    """
    from rich.console import Console

    from controllable_inference.serving.ask import ask as ask_server

    control = _given(
        coefficient=coefficient,
        paths=paths,
        max_paths=max_paths,
        thinking_tokens=thinking_tokens,
        deadline=deadline,
    )
    options = _given(model=model, controllable=control or None, reasoning_effort=effort, seed=seed)
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
    limits = _given(paths=paths, max_paths=max_paths, thinking_tokens=thinking_tokens, deadline=deadline)
    explanation = explain_question(local_source(model), question, budget, limits, seed)
    if output is None:
        typer.echo(explanation.text(), nl=False)
    else:
        output.write_text(written(explanation, output.suffix), encoding="utf-8")
        _say(f"{output}: {explanation.answer or 'no answer'}")


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
        found = fetch_model(uri, to, revision, digest, make_room, kind, progress=_say)
    except ModelNotFound as error:
        write_termination_log("ModelNotFound", f"{whose}{error}")
        raise
    except (ControllableError, OSError) as error:
        write_termination_log("ModelFetchFailed", f"{whose}{error}")
        raise
    write_termination_log("Fetched", uri, digest=found.digest, size=found.size)


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
    from controllable_inference.fetch.eviction import hold
    from controllable_inference.serving.config import load_engine_config
    from controllable_inference.serving.termination import write_termination_log

    try:
        config = load_engine_config()
        for path in (config.model.path, *(adapter.path for adapter in config.model.adapters if adapter.path)):
            hold(Path(path))
        drain = config.serving.drain_timeout_seconds
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
    lame_duck: Annotated[
        float, typer.Option(help="Seconds for which requests are still taken after SIGTERM.")
    ] = 0.0,
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
            adapters=engine.model.adapters,
            trace=engine.control.trace,
            host=host,
            port=port,
            triton=Ports(http_port, grpc_port, metrics_port),
            silence=silence,
            lame_duck=lame_duck,
            drain=engine.serving.drain_timeout_seconds,
        )
    )


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
train.command(
    "all",
    help="""Train all parts, in the order in which they build on each other.

    Example: `controllable-inference train all models/nano --task examples.gcd_task:task --output ./control`
    """,
)(_train_command("gate", "budget", "policy"))


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def main() -> None:
    """Run the command; what goes wrong on purpose is one line and exit status 1, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(0)  # the reader has left; there is nobody to tell
    except (ControllableError, OSError) as error:  # the latter where a file named can't be read or made
        _say(f"error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
