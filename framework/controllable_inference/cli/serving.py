"""Commands that serve a model, and ask a served one."""

from pathlib import Path
from typing import Annotated

import typer

from controllable_inference.cli.application import app, given, say
from controllable_inference.errors import ControllableError

HttpPort = Annotated[
    int, typer.Option(envvar="CONTROLLABLE_TRITON_HTTP_PORT", help="Triton's HTTP, on loopback.")
]
GrpcPort = Annotated[
    int, typer.Option(envvar="CONTROLLABLE_TRITON_GRPC_PORT", help="Triton's gRPC, on loopback.")
]
MetricsPort = Annotated[
    int, typer.Option(envvar="CONTROLLABLE_TRITON_METRICS_PORT", help="Triton's metrics, on loopback.")
]


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

    serve_locally(manifest, host, port, say)


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

    control = given(
        coefficient=coefficient,
        paths=paths,
        max_paths=max_paths,
        thinking_tokens=thinking_tokens,
        deadline=deadline,
    )
    options = given(model=model, controllable=control or None, reasoning_effort=effort, seed=seed)
    ask_server(url, question, options, Console())


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
        typer.echo(server.install_triton(install, say))
        return
    if install_only:
        typer.echo(server.ensure_triton(say))
        return
    from controllable_inference.fetch.eviction import hold
    from controllable_inference.serving.config import load_engine_config
    from controllable_inference.serving.termination import write_termination_log

    try:
        config = load_engine_config()
        for path in (config.model.path, *(adapter.path for adapter in config.model.adapters if adapter.path)):
            hold(Path(path))
        drain = config.serving.drain_timeout_seconds
        server.exec_triton(server.Ports(http_port, grpc_port, metrics_port), drain, say)
    except ControllableError as error:
        write_termination_log("ModelLoadFailed", str(error))
        raise


@app.command("vllm-node")
def vllm_node() -> None:
    """Compute this node's share of a model on vLLM; a leader serves it (LeaderWorkerSet starts both).

    The model is the one that CONTROLLABLE_ENGINE_CONFIG describes, as the leader's is.
    """
    from controllable_inference.engines.vllm.remote import become_worker_node
    from controllable_inference.serving.config import load_engine_config

    model = load_engine_config().model
    become_worker_node(Path(model.path), model.precision, model.tensor_parallel)


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
