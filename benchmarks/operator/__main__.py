"""How the operator fares with a fleet of models, on a real API server.

    python -m benchmarks.operator [--sizes 100 1000] [--namespaces 50]

Starts the local cluster (dev/cluster) with KWOK's pretended nodes, applies that many models, and measures:
until all are ready, what they cost at rest, how long a change takes to its Deployment, and a restart of the
operator. Writes benchmarks/operator/RESULTS.md and takes the cluster down again. Needs what the local
cluster needs; KWOK is built at the first time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from controllable_operator.controller import ROUND_SECONDS

from benchmarks.operator import fleet
from dev.cluster import alone, ending, kwok
from dev.cluster.paths import REPOSITORY

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], help="models (%(default)s)")
    parser.add_argument("--namespaces", type=int, default=50, help="they are spread over (%(default)s)")
    # every model is looked at once in a round, whatever happens
    parser.add_argument(
        "--steady", type=float, default=ROUND_SECONDS, help="seconds to look at a fleet at rest (%(default)s)"
    )
    parser.add_argument("--changes", type=int, default=200, help="changes of single models")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write (%(default)s)")
    parser.add_argument("--notes", default="", help="a sentence about the machine for the results")
    arguments = parser.parse_args()
    ending.as_exceptions()
    if logs := alone.logs():
        measure(arguments, logs)
    else:
        alone.run_inside("fleet", "benchmarks.operator", sys.argv[1:])


def say(text: str) -> None:
    print(text, flush=True)


def measure(arguments: argparse.Namespace, logs: Path) -> None:
    # what only the inner process needs, and the outer one can do without
    from benchmarks.operator.report import report
    from benchmarks.operator.scenario import run

    for command in (
        ["apply", "--server-side", f"--filename={REPOSITORY / 'crds'}"],
        ["wait", "--for=condition=Established", f"crd/{fleet.PLURAL}.{fleet.GROUP}"],
    ):
        subprocess.run(["kubectl", *command], check=True, stdout=subprocess.DEVNULL)
    with kwok.without_policy_enforcer(), fleet.pretended_nodes(logs):
        runs = []
        for size in arguments.sizes:
            some = fleet.Fleet(size, arguments.namespaces)
            runs.append(run(some, logs, say, arguments.steady, arguments.changes))
            arguments.results.write_text(report(runs, arguments.namespaces, arguments.notes))
            if size != arguments.sizes[-1]:  # the last ones go with the cluster
                some.delete()
    say(arguments.results.read_text())


if __name__ == "__main__":
    main()
