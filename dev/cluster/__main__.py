"""The command line: `python -m dev.cluster --help`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dev.cluster import build as builder
from dev.cluster import checks, ending, kind, lifecycle, side_by_side
from dev.cluster.errors import ClusterError
from dev.cluster.images import project
from dev.cluster.paths import ClusterPaths

app = typer.Typer(
    help="A real single-node Kubernetes on this machine, without Docker. CLUSTER_NAME names it (default: "
    "controllable); clusters of different names run side by side. CLUSTER=kind uses kind and Docker instead.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
console = Console(
    stderr=True, highlight=False, soft_wrap=True
)  # standard output is for what a program may want to read

Install = Annotated[
    bool, typer.Option("--install", help="install missing Debian packages (CI=true does, too)")
]


@app.command()
def up(install: Install = False) -> None:
    """Start the cluster; builds what is missing first."""
    if kind.chosen():
        kind.up(_name())
    else:
        paths = _paths()
        if lifecycle.running(paths):
            console.print(f"cluster {paths.name} is up already")
        else:
            _prepare(install)
            start = time.monotonic()
            try:
                lifecycle.up(paths, _report)
            except KeyboardInterrupt:
                console.print("interrupted; what was started is gone again")
                raise
            console.print(f"[bold]cluster {paths.name} is up after {time.monotonic() - start:.1f} s[/bold]")
    console.print(_USAGE)


@app.command()
def down(
    purge: Annotated[bool, typer.Option(help="also remove its store of images")] = False,
) -> None:
    """Stop the cluster; nothing of it is left on the machine but its cached images."""
    if kind.chosen():
        kind.down(_name())
        return
    start, paths = time.monotonic(), _paths()
    if lifecycle.down(paths, purge=purge):
        console.print(f"cluster {paths.name} is down after {time.monotonic() - start:.1f} s")
    else:
        console.print(f"cluster {paths.name} was not up")


@app.command()
def status() -> None:
    """Say what runs. Exit status 1 when the cluster is not up."""
    paths = _paths()
    cluster = lifecycle.running(paths)
    if cluster is None:
        console.print(f"cluster {paths.name} is not up: python -m dev.cluster up")
        raise typer.Exit(1)
    names = sorted(child.command for child in cluster.node.children())
    console.print(f"cluster {paths.name} is up (process {cluster.node.pid}): {', '.join(names)}")
    console.print(f"logs: {paths.logs}")
    _enter(["kubectl", "get", "nodes,pods", "--all-namespaces"])


@app.command()
def check(install: Install = False) -> None:
    """Say what this machine lacks for a cluster; exit status 3 if anything. Only --install changes it."""
    if not kind.chosen():
        checks.ensure_host()
        for needed in (checks.TO_RUN, checks.TO_MAKE_IMAGES, checks.TO_BUILD if builder.missing() else {}):
            checks.ensure_packages(needed, install=install)
        checks.ensure_kernel()
        if builder.missing():
            checks.ensure_go()
    console.print("a cluster can run here")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def enter(context: typer.Context) -> None:
    """Run a command where the cluster can be reached: enter -- kubectl get pods."""
    if not context.args:
        raise ClusterError("enter needs a command", "python -m dev.cluster enter -- kubectl get pods")
    _enter(context.args)


@app.command()
def build(
    install: Install = False,
    judges: Annotated[
        bool,
        typer.Option("--judges", help="also what some tests ask: kube-score, kstatus, Helm 4, promtool"),
    ] = False,
) -> None:
    """Build Kubernetes and the rest from their Go modules, once. With kind there is nothing to build."""
    if not kind.chosen():
        checks.ensure_host()
        _build(install)
    if judges:
        checks.ensure_packages(checks.TO_JUDGE, install=install)
        _build(install, builder.JUDGES)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    install: Install = False,
    keep: Annotated[bool, typer.Option("--keep", help="leave a cluster running that was started")] = False,
) -> None:
    """Run a command in a cluster that has the project's images: run -- pytest -m cluster.

    A cluster that was not up is started for it, and stopped again. RUNTIME_IMAGE and OPERATOR_IMAGE are set,
    and with WITH_VLLM=1 RUNTIME_VLLM_IMAGE.
    """
    if not context.args:
        raise ClusterError("run needs a command", "python -m dev.cluster run -- kubectl get pods")
    was_up = kind.is_up(_name()) if kind.chosen() else lifecycle.running(_paths()) is not None
    try:
        _build_beside_images(install)
        up(install)
        references = _images(install)
        line, environment = _inside(context.args)
        environment |= {
            f"{name.upper().replace('-', '_')}_IMAGE": reference for name, reference in references.items()
        }
        status = ending.run(line, env=environment)
    finally:
        if not (was_up or keep):
            down()
    raise typer.Exit(status)


@app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_tests(
    context: typer.Context,
    install: Install = False,
    clusters: Annotated[int, typer.Option(help="how many")] = 2,
) -> None:
    """Run pytest in several clusters at once, its files shared out among them: test -- -m cluster.

    Tests of a cluster mostly wait for it, so two take little more than half the time that one takes. The
    clusters are started for it, and stopped again.
    """
    names = [f"{_name()}-{number}" for number in range(1, clusters + 1)]
    _build_beside_images(install)
    if not kind.chosen():
        _prepare(install)
        _images(install, only_build=True)
    try:
        side_by_side.start(names)
        status = ending.run(side_by_side.pytest(names, context.args))
    finally:
        side_by_side.stop(names)
    raise typer.Exit(status)


@app.command()
def images(
    install: Install = False,
    only_build: Annotated[bool, typer.Option("--only-build", help="no cluster: just build")] = False,
) -> None:
    """Build the project's images where their sources changed, and load them into the running cluster.

    WITH_VLLM=1 adds a runtime with vLLM for CPUs.
    """
    for reference in _images(install, only_build).values():
        print(reference)


@app.command()
def load(archives: list[Path]) -> None:
    """Load image archives (docker save, buildah push docker-archive:) into the running cluster."""
    for archive in archives:
        if not archive.is_file():
            raise ClusterError(f"{archive} is no file", "give the path of an archive of an image")
        if kind.chosen():
            kind.load(_name(), archive)
        else:
            command = ["ctr", "--namespace", "k8s.io", "images", "import", "--local", str(archive.absolute())]
            line, environment = lifecycle.inside(_paths(), command)
            if subprocess.run(line, env=environment).returncode:
                raise ClusterError(f"containerd did not take {archive}")


def _images(install: bool, only_build: bool = False) -> dict[str, str]:
    """References of the images that are now there, by name."""
    if kind.chosen():
        return {} if only_build else kind.images(_name())
    checks.ensure_host()
    checks.ensure_packages(checks.TO_MAKE_IMAGES, install=_may_install(install))
    paths = None if only_build else _paths()
    if paths:
        lifecycle.require_running(paths)
    wanted = (*project.IMAGES, project.WITH_VLLM) if os.environ.get("WITH_VLLM") else project.IMAGES
    return {image.name: project.provide(image, paths, console) for image in wanted}


def _build_beside_images(install: bool) -> None:
    """Where there are no binaries yet: build them and the images at once.

    Compilers keep the cores busy, while what makes images mostly waits for the network and the disk.
    """
    if kind.chosen() or not builder.missing():
        return
    checks.ensure_host()
    for needed in (checks.TO_RUN, checks.TO_BUILD, checks.TO_MAKE_IMAGES):
        checks.ensure_packages(needed, install=_may_install(install))
    command = [sys.executable, "-m", "dev.cluster", "images", "--only-build"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as images:
        try:
            _build(install)
        except BaseException:
            images.terminate()
            raise
    if images.returncode:
        raise ClusterError("the images could not be built", "the reason is above")


def _prepare(install: bool) -> None:
    checks.ensure_packages(checks.TO_RUN, install=_may_install(install))
    checks.ensure_kernel()
    _build(install)


def _build(install: bool, parts: tuple[builder.Part, ...] = builder.NODE) -> None:
    missing = builder.missing(parts)
    if not missing:
        return
    checks.ensure_packages(checks.TO_BUILD, install=_may_install(install))
    checks.ensure_go()
    console.print(f"building {', '.join(part.name for part in missing)}, once; a node takes minutes")
    seconds = sum(_build_part(part) for part in missing)
    console.print(f"built in {seconds:.0f} s")


def _build_part(part: builder.Part) -> float:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{part.name}: loading packages", total=None)

        def progress(compiled: int, of: int) -> None:
            bar.update(task, description=part.name, completed=compiled, total=of)

        seconds = builder.build(part, progress)
    console.print(f"  {part.name:<24}{seconds:5.0f} s")
    return seconds


def _enter(command: list[str]) -> None:
    """Become the command; does not return."""
    line, environment = _inside(command)
    os.execvpe(line[0], line, environment)


def _inside(command: list[str]) -> tuple[list[str], dict[str, str]]:
    if kind.chosen():
        return command, kind.environment(_name())
    return lifecycle.inside(_paths(), command)


def _report(step: str, seconds: float) -> None:
    console.print(f"  {step:<26}{seconds:5.1f} s")


def _may_install(install: bool) -> bool:
    return install or os.environ.get("CI") == "true"


def _name() -> str:
    return os.environ.get("CLUSTER_NAME", "controllable")


def _paths() -> ClusterPaths:
    checks.ensure_host()
    return ClusterPaths.of(_name())


_USAGE = """\
  python -m dev.cluster enter -- kubectl get nodes     run a command with kubectl, helm and KUBECONFIG
  python -m dev.cluster images                         build and load the project's images
  python -m dev.cluster down                           stop it"""


def main() -> None:
    # Root by `su` may have a PATH without ip and nft. The node, and all that is started here, inherits it.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    ending.as_exceptions()
    try:
        app()
    except ClusterError as error:
        console.print(f"[red]{escape(error.what)}[/red]")
        if error.remedy:
            console.print(f"  → {escape(error.remedy)}")
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
