"""The page's pictures, as SVG and PNG: on no background, in colours that are read on white and on black."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from controllable_inference.bench.analysis import FULL
from controllable_inference.bench.figures import Figures, Frontier, Gate, Row
from controllable_inference.bench.sweep import POLICY_OFF, SHIPPED
from controllable_inference.learn.statistics import Interval

INK = "#808080"
COLOURS = {
    SHIPPED: "#e8590c",
    POLICY_OFF: "#f0b37e",
    "SC": "#4c8fd6",
    "AC": "#2f9e6e",
    "ESC": "#9c6ade",
    "DeepConf online": "#c2a01c",
    "random": "#909090",
    "STEP-like, threshold": "#d6567f",
}
"""Methods that frontiers show; more would be unreadable."""
NAMES = {
    SHIPPED: "shipped control",
    POLICY_OFF: "shipped control, policy off",
    "SC": "voting (SC@1 … SC@16)",
    "AC": "Adaptive-Consistency",
    "ESC": "ESC",
    "DeepConf online": "DeepConf, online",
    "random": "random pruning",
    "STEP-like, threshold": "STEP-like",
}
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "lines.linewidth": 2,
    "lines.markersize": 7,
    "svg.fonttype": "path",
    "svg.hashsalt": "results",  # the same figures give the same file
    "figure.constrained_layout.use": True,
}
KINDS = {
    "tokens": "path-tokens a problem",
    "flops": "FLOPs a problem",
    "chain": "longest chain of tokens",
}


def draw(figures: Figures, folder: Path) -> list[Path]:
    """All pictures that these figures allow, each as SVG and PNG. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[], Figure]] = {
        f"frontier_{kind}": lambda kind=kind: frontier(figures, kind)  # type: ignore[misc]
        for kind in KINDS
    }
    if figures.gate is not None:
        gate = figures.gate
        pictures |= {"reliability": lambda: reliability(gate), "auc": lambda: discrimination(gate)}
    if figures.thirds:
        pictures["thirds"] = lambda: thirds(figures)
    written = []
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        for name, make in pictures.items():
            picture = make()
            for suffix in ("svg", "png"):
                file = folder / f"{name}.{suffix}"
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                picture.savefig(file, transparent=True, dpi=160, metadata=metadata)
                written.append(file)
            plt.close(picture)
    return written


def _bars(values: Iterable[Interval], scale: float = 1.0) -> list[list[float]]:
    pairs = [(scale * (v.mean - v.low), scale * (v.high - v.mean)) for v in values]
    return [[max(0.0, low) for low, _ in pairs], [max(0.0, high) for _, high in pairs]]


def frontier(figures: Figures, kind: str) -> Figure:
    """Accuracy against a cost: tokens, flops or chain."""
    picture, axes = plt.subplots(figsize=(8, 4.6))
    shown = [f for f in figures.frontiers if f.method in COLOURS]
    for its in sorted(shown, key=lambda f: list(COLOURS).index(f.method), reverse=True):
        _curve(axes, its, kind)
    for row in figures.rows:
        if row.system in ("greedy", SHIPPED):
            _mark(axes, row, kind)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(_short))
    axes.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.set_xlabel(KINDS[kind])
    axes.set_ylabel("accuracy, %")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower right", fontsize=9.5)
    return picture


def _curve(axes: Axes, its: Frontier, kind: str) -> None:
    colour = COLOURS[its.method]
    axes.errorbar(
        [getattr(point, kind).mean for point in its.points],
        [100 * point.accuracy.mean for point in its.points],
        yerr=_bars((point.difference for point in its.points), 100),
        color=colour,
        marker="o",
        markerfacecolor="none" if its.timing == "sequential" else colour,
        markeredgewidth=1.6,
        elinewidth=1,
        capsize=0,
        label=NAMES[its.method],
        zorder=3 if its.method == SHIPPED else 2,
    )


def _mark(axes: Axes, row: Row, kind: str) -> None:
    cost = getattr(row, kind).mean
    at = (cost, 100 * row.accuracy.mean)
    if row.system == SHIPPED:
        axes.plot(*at, marker="*", markersize=17, color=COLOURS[SHIPPED], zorder=4, linestyle="none")
        text = "as shipped"
    else:
        axes.plot(*at, marker="x", markersize=8, markeredgewidth=2, color=INK, zorder=4, linestyle="none")
        text = "one greedy path"
    axes.annotate(text, at, textcoords="offset points", xytext=(9, -13), fontsize=9.5)


def _short(value: float, _: object = None) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def reliability(gate: Gate) -> Figure:
    """What the gate said against what came."""
    picture, axes = plt.subplots(figsize=(4, 3.6))
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
    axes.errorbar(
        [b.score for b in gate.bins],
        [b.outcome for b in gate.bins],
        yerr=_bars(gate.bin_outcomes),
        color=COLOURS[SHIPPED],
        marker="o",
        markersize=5,
        elinewidth=1,
    )
    axes.set_xlabel("probability given by the gate")
    axes.set_ylabel("share that ended right")
    axes.set_title(f"calibration error {gate.error.mean:.3f}", fontsize=10.5)
    return picture


def discrimination(gate: Gate) -> Figure:
    """AUC against the share of steps."""
    picture, axes = plt.subplots(figsize=(4, 3.6))
    shares = [100 * d.share for d in gate.discrimination]
    for name, colour in (("pooled", COLOURS["SC"]), ("within", COLOURS[SHIPPED])):
        values = [getattr(d, name) for d in gate.discrimination]
        axes.errorbar(
            shares, [v.mean for v in values], yerr=_bars(values), color=colour, marker="o", elinewidth=1
        )
        words = "pooled" if name == "pooled" else "within a problem"
        axes.annotate(
            words, (shares[-1], values[-1].mean), textcoords="offset points", xytext=(-8, -16), ha="right"
        )
    axes.axhline(0.5, color=INK, linewidth=1, linestyle="--")
    axes.set_xlabel("share of a path's steps, %")
    axes.set_ylabel("AUC")
    axes.set_ylim(0.45, 1.0)
    return picture


def thirds(figures: Figures) -> Figure:
    """Tokens by difficulty."""
    picture, axes = plt.subplots(figsize=(6, 3.4))
    width = 0.38
    for offset, field, colour, name in (
        (-width / 2, "full_tokens", COLOURS["SC"], f"{FULL}"),
        (width / 2, "tokens", COLOURS[SHIPPED], "shipped control"),
    ):
        values = [getattr(third, field) for third in figures.thirds]
        axes.bar(
            [n + offset for n in range(len(values))],
            [v.mean for v in values],
            width,
            yerr=_bars(values),
            color=colour,
            ecolor=INK,
            label=name,
        )
    names = [f"{third.name}\npass rate {third.pass_rate:.0%}" for third in figures.thirds]
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(KINDS["tokens"])
    axes.legend(loc="upper left")
    return picture
