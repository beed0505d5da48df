"""RESULTS.md from the figures."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

from benchmarks.machine import processor
from benchmarks.operator.fleet import NODES
from benchmarks.operator.scenario import PROGRAMS, Figures


def report(runs: list[Figures], namespaces: int, notes: str) -> str:
    lines = [
        "# The operator with a fleet",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({processor()}), Python "
        f"{platform.python_version()}, load {os.getloadavg()[2]:.1f} (15 min) at the end. Everything shares "
        "these cores: the operator, a real API server with etcd, controller manager and scheduler, KWOK with "
        f"{NODES} nodes, and the benchmark. Models in {namespaces} namespaces, one replica each.",
        "",
        "Made by `python -m benchmarks.operator`.",
        *([notes, ""] if notes else [""]),
        *_table(runs),
        "",
        "## Requests of the operator while it converges, for each model",
        "",
        *_requests(runs),
        "",
        "## Where the time goes: CPU seconds until everything is settled, for each 100 models",
        "",
        *_cpu(runs),
        "",
    ]
    return "\n".join(lines)


def _table(runs: list[Figures]) -> list[str]:
    rows = [
        ("converged after the first apply, s", [f"{r.converged_seconds:.1f}" for r in runs]),
        ("of which the benchmark applied, s", [f"{r.apply_seconds:.1f}" for r in runs]),
        ("reconciliations a model", [f"{r.reconciles / r.models:.1f}" for r in runs]),
        ("one reconciliation with its requests, ms (mean)", [f"{r.reconcile_ms:.0f}" for r in runs]),
        ("API requests a model", [f"{r.write_and_read_requests / r.models:.1f}" for r in runs]),
        ("API requests a reconciliation", [f"{r.write_and_read_requests / r.reconciles:.2f}" for r in runs]),
        ("operator CPU a model, ms", [f"{1000 * r.cpu['operator'] / r.models:.0f}" for r in runs]),
        ("memory while it converges, MiB", [f"{r.peak_memory:.0f}" for r in runs]),
        ("steady: cores", [f"{r.steady_cores:.3f}" for r in runs]),
        ("steady: MiB", [f"{r.steady_memory:.0f}" for r in runs]),
        ("steady: requests about models in a minute", [_steady_requests(r) for r in runs]),
        ("a change reaches its Deployment: median, s", [f"{r.change_quantile(0.5):.2f}" for r in runs]),
        ("p99, s", [f"{r.change_quantile(0.99):.2f}" for r in runs]),
        ("slowest, s", [f"{max(r.changes):.2f} of {len(r.changes)}" for r in runs]),
        ("restart: every model looked at after, s", [f"{r.restart_seconds:.1f}" for r in runs]),
        ("restart: writes", [f"{r.restart_writes:.0f}" for r in runs]),
        ("restart: objects changed", [str(r.restart_changed) for r in runs]),
        ("restart: CPU, s", [f"{r.restart_cpu:.1f}" for r in runs]),
        ("restart: memory, MiB", [f"{r.restart_memory:.0f}" for r in runs]),
    ]
    head = [f"| | {' | '.join(f'{r.models} models' for r in runs)} |", "|---|" + "---|" * len(runs)]
    return head + [f"| {name} | {' | '.join(values)} |" for name, values in rows]


def _steady_requests(figures: Figures) -> str:
    others = {k: v for k, v in figures.steady_requests.items() if k[1] != "leases" and k[0] != "watch"}
    return f"{60 * sum(others.values()) / figures.steady_seconds:.1f}"


def _requests(runs: list[Figures]) -> list[str]:
    # a watch that is opened anew is nobody's
    keys = sorted({key for run in runs for key, count in run.requests.items() if count / run.models >= 0.005})
    head = [
        f"| verb | resource | {' | '.join(str(r.models) for r in runs)} |",
        "|---|---|" + "---|" * len(runs),
    ]
    return head + [
        f"| {' | '.join(key)} | {' | '.join(f'{r.requests.get(key, 0) / r.models:.2f}' for r in runs)} |"
        for key in keys
    ]


def _cpu(runs: list[Figures]) -> list[str]:
    head = [f"| program | {' | '.join(str(r.models) for r in runs)} |", "|---|" + "---|" * len(runs)]
    each = [
        f"| {name} | {' | '.join(f'{100 * r.cpu[name] / r.models:.1f}' for r in runs)} |" for name in PROGRAMS
    ]
    fastest = " | ".join(f"{sum(r.cpu.values()) / (os.cpu_count() or 1):.0f} s" for r in runs)
    return [*head, *each, f"| all models, were no core ever idle | {fastest} |"]
