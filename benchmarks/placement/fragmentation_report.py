"""FRAGMENTATION.md from the figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import mean, stdev

from benchmarks.machine import processor
from benchmarks.placement.arrivals import Arrival, Tally

Streams = Mapping[str, Sequence[Sequence[Arrival]]]


def report(found: Streams, command: str, nodes: int, topologies: Sequence[str], seconds: float) -> str:
    """A row for each way of asking, of which there are several streams."""
    load, cores = os.getloadavg()[0], f"{os.cpu_count()} cores ({processor()})"
    streams = next(iter(found.values()))
    required = sum(Tally.of(stream, "required").arrived for stream in streams)
    rows = "\n".join(_row(name, streams) for name, streams in found.items())
    return f"""\
# Who waits at nine GPUs of ten in use

{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cores}, Python {platform.python_version()}, load {load:.1f} at the \
end; {seconds:.0f} s in all.

Made by `python -m benchmarks.placement.fragmentation {command}`: for each way of asking {len(streams)} \
streams of replicas on {nodes} pretended nodes of 8 GPUs ({", ".join(topologies)}, in equal parts), placed \
by the real kube-scheduler. They arrive while fewer than 90 % of the GPUs are in use, and else one leaves by \
chance; {len(streams[0])} arrivals of each stream count, after those that fill the nodes: {required} in all \
that require NVLink, the same for each way. Shares are of the replicas with that intent, mean over streams ± \
standard deviation.

| GPUs asked for | required: waits, enough are free | a whole group is free | required: split | \
preferred: split | a whole group was free | single GPU: waits |
|---|---|---|---|---|---|---|
{rows}

Who is refused goes away. Pods here are bare; those of the operator also wish to be on different nodes.

Enough are free: as many as are asked for, together or scattered, on nodes that could connect so many. The \
column after it tells for which of these replicas, too.
"""


def _row(name: str, streams: Sequence[Sequence[Arrival]]) -> str:
    required = [Tally.of(stream, "required") for stream in streams]
    preferred = [Tally.of(stream, "preferred") for stream in streams]
    none = [Tally.of(stream, "none") for stream in streams]
    cells = [
        _shares([tally.waiting for tally in required]),
        _shares([tally.missed for tally in required]),
        _shares([tally.split for tally in required]),
        _shares([tally.split for tally in preferred]),
        _shares([tally.avoidable for tally in preferred]),
        _shares([tally.waiting for tally in none]),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _shares(values: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 and any(values) else ""
    return f"{100 * mean(values):.1f}{spread} %" if any(values) else "0 %"
