"""The command line: `python -m dev.gpus --help`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Annotated

import kubernetes
import typer
from rich.console import Console
from rich.markup import escape

from dev.cluster import ending, lifecycle
from dev.cluster.errors import ClusterError
from dev.cluster.network import NODE
from dev.cluster.paths import ClusterPaths
from dev.gpus import definitions, protos
from dev.gpus.plugin import plugged_in
from dev.gpus.topologies import TOPOLOGIES, Topology

app = typer.Typer(
    help="GPUs that are only told of, on the local cluster (CLUSTER_NAME names it), for tests and demos.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
console = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def build() -> None:
    """Fetch what the driver and tests need of others, once; both do so by themselves, too."""
    print(protos.compiled())
    for published in definitions.ALL:
        print(definitions.definition(published)["metadata"]["name"])


@app.command()
def topologies() -> None:
    """List what nodes there can be."""
    for name, topology in TOPOLOGIES.items():
        groups = ", ".join(map(str, topology.nvlink)) or "none"
        print(f"{name:<14}{topology.gpus} x {topology.product:<24} NVLink groups of: {groups}")


@app.command("demo")
def demonstrate() -> None:
    """Place ten models on a fleet of such nodes, in a cluster of its own, and draw who got which GPUs."""
    from dev.gpus import demo  # needs more than the other commands

    demo.main()


@app.command()
def run(
    topology: Annotated[str, typer.Option(help=f"one of {', '.join(TOPOLOGIES)}")] = "bridge-pairs",
) -> None:
    """Give the cluster's node these GPUs until this is ended, which is for when no pod has any of them."""
    if topology not in TOPOLOGIES:
        raise ClusterError(f"there is no topology {topology!r}", f"one of {', '.join(TOPOLOGIES)}")
    protos.compiled()
    paths = ClusterPaths.of(os.environ.get("CLUSTER_NAME", "controllable"))
    if os.environ.get("KUBECONFIG") != str(paths.kubeconfig()):
        command = [sys.executable, "-m", "dev.gpus", "run", f"--topology={topology}"]
        line, environment = lifecycle.inside(paths, command)
        os.execvpe(line[0], line, environment)
    _serve(topology, TOPOLOGIES[topology])


def _serve(name: str, topology: Topology) -> None:
    kubernetes.config.load_kube_config()
    with plugged_in(topology):
        console.print(f"{NODE} has {topology.gpus} x {topology.product} ({name}); Ctrl-C ends it")
        while True:
            signal.pause()


def main() -> None:
    ending.as_exceptions()
    try:
        app()
    except ClusterError as error:
        console.print(f"[red]{escape(error.what)}[/red]")
        if error.remedy:
            console.print(f"  → {escape(error.remedy)}")
        sys.exit(error.exit_status)
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
