"""`make demo`: apply a manifest on a real cluster and ask the model it serves.

Without KUBECONFIG the local cluster of `dev.cluster` is started, used and taken down again (unless it was up
before, or --keep). Where none can run, the same manifest is served by a local tritonserver, and the demo says
why.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from controllable_inference.learn.problems import Problem, Split, draw_split, is_correct
from openai import OpenAI
from rich.console import Console
from rich.table import Column, Table

from dev.cluster import ending
from dev.cluster.errors import Unfit

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "examples/nano.yaml"
DEV_CLUSTER = [sys.executable, "-m", "dev.cluster"]
NAMESPACE, OPERATOR_NAMESPACE = "reasoning", "controllable-system"

# A pipe or a log has no width of its own, and the table wants more than the usual default.
console = Console(width=None if sys.stdout.isatty() else 120)


Object = dict[str, Any]


class DemoError(Exception):
    """A step failed; the message says which one and where to look."""


class Clock:
    """Times each step, prints it as it ends, and sums up."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.parts: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        console.print(f"[bold]→ {name}[/bold]")
        start = time.monotonic()
        yield
        self.parts.append((name, time.monotonic() - start))
        console.print(f"  [green]✓[/green] {name} [dim]{self.parts[-1][1]:.1f} s[/dim]")

    def summary(self) -> str:
        parts = [f"{name} {seconds:.1f} s" for name, seconds in self.parts]
        return " · ".join([*parts, f"[bold]all {time.monotonic() - self.start:.1f} s[/bold]"])


def run(*command: str, stdin: str = "") -> str:
    """Run a command, return its output; DemoError with all it printed when it fails."""
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


# --------------------------------------------------------------------------- on a cluster
def deploy(images: dict[str, str]) -> None:
    """Install the charts, apply the manifest, wait until the resource says Ready."""
    # Somebody may have applied the definitions by hand before. Helm 3.17 and newer can take them over.
    ownership = ["--take-ownership"] if "--take-ownership" in run("helm", "upgrade", "--help") else []
    run("helm", "upgrade", "--install", "controllable-crds", "charts/controllable-crds", "--wait", *ownership)
    repository, _, tag = images["operator"].rpartition(":")
    run(
        *("helm", "upgrade", "--install", "controllable-operator", "charts/controllable-operator", "--wait"),
        *("--namespace", OPERATOR_NAMESPACE, "--create-namespace"),
        *(
            "--set",
            f"image.repository={repository},image.tag={tag}",
            "--set",
            f"runtime.image={images['runtime']}",
        ),
    )
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    run("kubectl", "apply", "-f", "-", stdin=json.dumps(namespace))
    run("kubectl", "apply", "-n", NAMESPACE, "-f", str(MANIFEST))


def pending(model: Object, deployment: Object | None, image: str) -> str:
    """What has to happen until the model is served by `image`, by that alone; empty when it has."""
    conditions = {condition["type"]: condition for condition in model.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready")
    if not ready or ready["observedGeneration"] != model["metadata"]["generation"]:
        return "waiting for the operator"
    if ready["status"] != "True":
        return f"{ready['reason']}: {ready['message']}"
    # The Ready of an earlier demo stands until the new operator has looked, its pods until new ones are up.
    if deployment is None:
        return "waiting for the operator"
    spec, status = deployment["spec"], deployment.get("status", {})
    if {container["image"] for container in spec["template"]["spec"]["containers"]} != {image}:
        return "an earlier image is served still"
    counts = {status.get(count, 0) for count in ("replicas", "updatedReplicas", "availableReplicas")}
    seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return "" if seen and counts == {spec["replicas"]} else "pods are being replaced"


def wait_ready(image: str, limit: float = 180) -> None:
    """Wait until `image` serves, and print each new reason, so that nobody looks at a silent screen."""
    last, end = "", time.monotonic() + limit
    while time.monotonic() < end:
        items = json.loads(run("kubectl", "get", "cmodel,deployment", "-n", NAMESPACE, "-o", "json"))["items"]
        found = {item["kind"]: item for item in items if item["metadata"]["name"] == "nano"}
        said = pending(found["ControllableModel"], found.get("Deployment"), image)
        if not said:
            return
        if said != last:
            console.print(f"  [dim]{said}[/dim]")
            last = said
        time.sleep(0.5)
    events = run("kubectl", "get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp")
    raise DemoError(f"nano is not Ready after {limit:.0f} s: {last}\n{events}")


@contextmanager
def port_forward(service: str) -> Iterator[str]:
    """A base URL that reaches the service from here."""
    command = ["kubectl", "port-forward", "-n", NAMESPACE, f"svc/{service}", ":80"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "->" not in line:
                raise DemoError(f"`{' '.join(command)}` did not start")
            yield f"http://{line.split(' -> ')[0].rsplit(' ', 1)[1]}"
        finally:
            process.terminate()


def demo_on_cluster(images: dict[str, str], clock: Clock) -> None:
    with clock.step("helm install, kubectl apply"):
        deploy(images)
    with clock.step("model Ready"):
        wait_ready(images["runtime"])
    console.print(run("kubectl", "get", "cmodel", "-n", NAMESPACE))
    with port_forward("nano") as url, clock.step("questions"):
        ask_all(url)


# --------------------------------------------------------------------------------- without
def demo_without_cluster(clock: Clock) -> None:
    with clock.step("questions to a local server"), local_server() as url:
        ask_all(url)


@contextmanager
def local_server(port: int = 8080) -> Iterator[str]:
    """`controllable-inference serve` on the demo's manifest."""
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "controllable_inference.cli",
        "serve",
        str(MANIFEST),
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            end = time.monotonic() + 300
            while True:
                if process.poll() is not None or time.monotonic() > end:
                    raise DemoError("the local server did not become ready; its output is above")
                try:
                    if httpx.get(f"{url}/health/ready", timeout=5).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()


# ------------------------------------------------------------------------------- questions
def ask(client: OpenAI, problem: Problem) -> dict[str, object]:
    start = time.monotonic()
    completion = client.chat.completions.create(
        model="nano", messages=[{"role": "user", "content": problem.question}], seed=1
    )
    seconds = time.monotonic() - start
    answer = completion.choices[0].message.content or ""
    extra = completion.model_extra["controllable"] if completion.model_extra else {}
    return {
        "answer": answer,
        "correct": is_correct(problem, answer),
        "seconds": seconds,
        "tokens": completion.usage.completion_tokens,
        **extra,
    }


def ask_all(url: str) -> None:
    """Ask the questions one by one and print the table."""
    client = OpenAI(base_url=f"{url}/v1", api_key="unused", timeout=120, max_retries=0)
    table = Table(
        Column("question", min_width=40),
        "answer",
        "correct",
        "coefficient",
        "paths: started/\npruned/stopped",
        "tokens:\nused/saved",
        "time",
        title=f"nano, asked at {url}/v1",
    )
    every_cell = draw_split(Split.TEST, per_cell=1, seed=2026)
    for problem in every_cell[::5]:  # families and levels mixed
        row = ask(client, problem)
        question = " ".join(problem.question.split())
        table.add_row(
            question if len(question) < 120 else f"{question[:40]} … {question[-75:]}",
            str(row["answer"]),
            "[green]yes[/green]" if row["correct"] else "[red]no[/red]",
            f"{row['coefficient']:.2f}",
            f"{row['paths_started']}/{row['paths_pruned']}/{row['paths_stopped']}",
            f"{row['tokens']}/{row['tokens_saved']}",
            f"{row['seconds']:.2f} s",
        )
    console.print(table)


# ------------------------------------------------------------------------------------ main
def images_from_environment() -> dict[str, str]:
    """For a cluster of one's own: where its nodes can pull the two images from."""
    try:
        return {"runtime": os.environ["RUNTIME_IMAGE"], "operator": os.environ["OPERATOR_IMAGE"]}
    except KeyError as missing:
        raise DemoError(
            f"KUBECONFIG is set, {missing.args[0]} is not: build images/runtime/Dockerfile and "
            "images/operator/Dockerfile, push them where your nodes can pull, and set RUNTIME_IMAGE and "
            "OPERATOR_IMAGE to their references"
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="leave the local cluster running at the end")
    options = parser.parse_args()
    ending.as_exceptions()
    clock = Clock()
    try:
        if os.environ.get("KUBECONFIG"):
            demo_on_cluster(images_from_environment(), clock)
        elif why := unfit():
            console.print("[yellow]No cluster can run here:[/yellow]", why, highlight=False)
            console.print("[yellow]A local tritonserver serves the same manifest instead.[/yellow]")
            demo_without_cluster(clock)
        else:
            demo_on_local_cluster(options.keep)
    except DemoError as error:
        console.print(f"[red]demo failed:[/red] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(clock.summary(), highlight=False)
    return 0


def unfit() -> str:
    """Why no cluster can run on this machine; empty if one can. DemoError where that can't be told."""
    check = subprocess.run([*DEV_CLUSTER, "check", "--install"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if check.returncode not in (0, Unfit.exit_status):
        raise DemoError(f"`python -m dev.cluster check --install` failed:\n{check.stderr}")
    return check.stderr.strip() if check.returncode else ""


def demo_on_local_cluster(keep: bool) -> None:
    """Once inside, KUBECONFIG is set: from there on the local cluster is a cluster like any other."""
    options = ["--keep"] if keep else []
    if ending.run([*DEV_CLUSTER, "run", *options, "--", sys.executable, "-m", "dev.demo"], cwd=ROOT):
        raise DemoError("the reason is above")


if __name__ == "__main__":
    sys.exit(main())
