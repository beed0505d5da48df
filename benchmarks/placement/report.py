"""SCHEDULER.md from the figures."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.machine import processor
from benchmarks.placement.replicas import Outcome, Replica


@dataclass(frozen=True)
class Pass:
    """How the scheduler fared with all replicas, asked for in one way. outcome: None without claims."""

    name: str
    scheduled: int
    seconds: float
    outcome: Outcome | None


def report(
    passes: Sequence[Pass],
    replicas: Sequence[Replica],
    refused: int,
    nodes: int,
    seed: int,
    topologies: Sequence[str],
) -> str:
    """Three passes over the same replicas."""
    intents = Counter(item.ask.nvlink for item in replicas if item.ask.count > 1)
    counts = Counter(item.ask.count for item in replicas)
    gpus = sum(item.ask.count for item in replicas)
    rows = "\n".join(_row(item, len(replicas)) for item in passes)
    load, cores = os.getloadavg()[0], f"{os.cpu_count()} cores ({processor()})"
    sizes = ", ".join(f"{counts[size]} of {size}" for size in sorted(counts))
    return f"""\
# Placement on the real kube-scheduler

{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cores}, Python {platform.python_version()}, load {load:.1f} at the \
end. Scheduler, API server and benchmark share these cores.

Made by `python -m benchmarks.placement.scheduler --nodes {nodes} --replicas {len(replicas)} --seed {seed}`. \
{nodes} pretended nodes of 8 GPUs ({", ".join(topologies)}, in equal parts); {len(replicas)} replicas with \
{gpus} of the {8 * nodes} GPUs ({sizes}), each of a product drawn by the seed. Of those with several GPUs, \
{intents["required"]} require NVLink, {intents["preferred"]} prefer it, {intents["none"]} don't care. \
{refused} more were drawn that require what no node of their product has; of these the operator makes no pods.

| asked for by | scheduled | pods/s | required, split | preferred, split | none, split | GPUs given twice |
|---|---|---|---|---|---|---|
{rows}

Split: NVLink does not connect the replica's GPUs, by how its node is wired, which nobody tells the \
scheduler. The second row is the same replicas, whose intents are not passed on. Plain requests leave the \
choice of GPUs to the device plugin, after the node is chosen; pretended nodes have none, so \
nothing is split there.
"""


def _row(item: Pass, replicas: int) -> str:
    cells = [item.name, f"{item.scheduled} of {replicas}", f"{item.scheduled / item.seconds:.1f}"]
    if item.outcome is None:
        return f"| {' | '.join([*cells, '', '', '', ''])} |"
    for nvlink in ("required", "preferred", "none"):
        placed, split = item.outcome.placed.get(nvlink, 0), item.outcome.split.get(nvlink, 0)
        cells.append(f"{split} of {placed}" if placed else "")
    return f"| {' | '.join([*cells, str(item.outcome.double)])} |"
