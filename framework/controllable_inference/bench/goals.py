"""The figures to reach, beside what was measured; every cell is computed from the figures."""

from __future__ import annotations

from collections.abc import Sequence

from controllable_inference.bench.analysis import FULL, RETENTION, RIVALS
from controllable_inference.bench.figures import Figures, Frontier, Goal, LiveRow, Row, Verdict
from controllable_inference.bench.sweep import SHIPPED
from controllable_inference.bench.systems import Timing
from controllable_inference.bench.wording import (
    number,
    percent,
    percent_interval,
    points_interval,
    with_interval,
)
from controllable_inference.learn.statistics import Interval


def at_least(interval: Interval, aim: float) -> Verdict:
    """Reached for certain where the whole interval is."""
    if not interval.mean >= aim:
        return "not reached"
    return "reached" if interval.low >= aim else "reached, uncertain"


def at_most(interval: Interval, aim: float) -> Verdict:
    if not interval.mean <= aim:
        return "not reached"
    return "reached" if interval.high <= aim else "reached, uncertain"


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of them."""
    order: tuple[Verdict, ...] = ("not reached", "not measured", "reached, uncertain", "reached")
    return min(verdicts, key=order.index)


def goals(figures: Figures) -> list[Goal]:
    """All of them, in the order of the page."""
    return [
        *pruning_goals(figures),
        *gate_goals(figures),
        *tokens_goals(figures),
        *flops_goals(figures),
        *error_goals(figures),
        *live_goals(figures),
    ]


def pruning_goals(figures: Figures) -> list[Goal]:
    solved = "paths pruned while ≥ 98 % of the problems that full voting solves stay solved"
    recall = "paths pruned at ≥ 98 % recall of eventually right paths"
    aims = ("≥ 62 %, with fewer tokens than random pruning", "≥ 80 % of the bound 1 − 0.98·a")
    gate = figures.gate
    if gate is None:
        return [
            Goal(solved, "62 %", aims[0], "no gate", "not measured"),
            Goal(recall, "–", aims[1], "no gate", "not measured"),
        ]
    found = []
    if gate.by_solved is None or gate.random_tokens is None or gate.against_random is None:
        words = "no setting keeps 98 % on validation"
        found.append(Goal(solved, "62 %", aims[0], words, "not reached"))
    else:
        kept = gate.by_solved
        fewer = f"{number(kept.tokens.mean)} tokens, random pruning needs {with_interval(gate.random_tokens)}"
        words = f"{percent_interval(kept.pruned)}; {percent_interval(kept.stays_solved)} stay solved; {fewer}"
        verdicts = (
            at_least(kept.pruned, 0.62),
            at_least(kept.stays_solved, RETENTION),
            at_most(gate.against_random, 0),
        )
        found.append(Goal(solved, "62 %", aims[0], words, all_of(verdicts)))
    if gate.by_recall is None:
        words = "no setting keeps 98 % on validation"
        found.append(Goal(recall, "–", aims[1], words, "not reached"))
    else:
        kept = gate.by_recall
        words = (
            f"{percent_interval(kept.pruned)}, which is {percent_interval(kept.of_bound, 0)} of the bound "
            f"{percent(gate.bound)} (a = {percent(gate.single)}); recall {percent_interval(kept.recall)}"
        )
        both = (at_least(kept.of_bound, 0.8), at_least(kept.recall, RETENTION))
        found.append(Goal(recall, "–", aims[1], words, all_of(both)))
    return found


def gate_goals(figures: Figures) -> list[Goal]:
    gate = figures.gate
    names = (
        "gate AUC within a problem at 50 % of the steps",
        "gate AUC pooled at 50 % of the steps",
        "calibration error of the gate",
    )
    aims = ("≥ 0.80", "≥ 0.90", "≤ 0.03")
    if gate is None:
        return [Goal(n, "–", aim, "no gate", "not measured") for n, aim in zip(names, aims, strict=True)]
    half = next(d for d in gate.discrimination if d.share == 0.5)
    return [
        Goal(names[0], "–", aims[0], with_interval(half.within, 3), at_least(half.within, 0.8)),
        Goal(names[1], "–", aims[1], with_interval(half.pooled, 3), at_least(half.pooled, 0.9)),
        Goal(names[2], "–", aims[2], with_interval(gate.error, 3), at_most(gate.error, 0.03)),
    ]


def tokens_goals(figures: Figures) -> list[Goal]:
    """What is saved without a loss, at whose price at equal accuracy, and with what latency."""
    shipped = next(row for row in figures.rows if row.system == SHIPPED)
    saved = figures.whole_tokens_saved
    words = f"{percent_interval(_turned(saved), signed=True)} at {_accuracy(shipped)}"
    verdict = all_of((at_least(saved, 0.65), "reached" if shipped.no_loss else "not reached"))
    return [
        Goal(f"path-tokens at no loss of accuracy against {FULL}", "–", "−65 %", words, verdict),
        _rivals_goal(figures),
        _latency_goal(figures.live, shipped.timing),
    ]


def _accuracy(shipped: Row) -> str:
    """Beside full voting's; what asks for no loss is missed where there is one, however much is saved."""
    loss = "no loss" if shipped.no_loss else "**a loss, or too uncertain**"
    return f"{points_interval(shipped.difference)} points: {loss}"


def _rivals_goal(figures: Figures) -> Goal:
    rivals = [f for f in figures.frontiers if f.method in RIVALS]
    words = "; ".join(_compared(its) for its in rivals)
    aim = "fewer than Adaptive-Consistency, ESC and DeepConf-like"
    verdict = all_of([at_most(its.against, 0) for its in rivals]) if rivals else "not measured"
    return Goal(f"path-tokens at the accuracy of {FULL}", "–", aim, words, verdict)


def _compared(rival: Frontier) -> str:
    name, against = rival.method.removesuffix(" online"), rival.against
    if against.mean > 0:
        return f"**{with_interval(against)} more** than {name}"
    return f"{with_interval(_turned(against))} fewer than {name}"


def _latency_goal(live: Sequence[LiveRow], timing: Timing) -> Goal:
    what, aim = f"latency against {FULL}, same server", "no worse"
    rows = {row.system: row for row in live}
    if SHIPPED not in rows or FULL not in rows:
        return Goal(what, "–", aim, "not served", "not measured")
    verdicts: list[Verdict] = []
    words = []
    for name in ("p50", "p99"):
        own, full = getattr(rows[SHIPPED], name), getattr(rows[FULL], name)
        words.append(f"{name} {with_interval(own, 2)} s against {with_interval(full, 2)} s")
        certain: Verdict = "reached" if own.high <= full.low else "reached, uncertain"
        verdicts.append(certain if own.mean <= full.mean else "not reached")
    if timing == "sequential":
        words.append("the control starts some paths only after others have ended")
    return Goal(what, "–", aim, "; ".join(words), all_of(verdicts))


def flops_goals(figures: Figures) -> list[Goal]:
    aims = {
        "easy third": ("−55 %", "−75 %", -0.75),
        "hard third": ("+30 %", "≤ +30 %", 0.3),
        "all": ("−28 %", "−50 %, at no loss of accuracy", -0.5),
    }
    thirds = {third.name: third for third in (*figures.thirds, figures.whole)}
    found = []
    for name, (article, aim, limit) in aims.items():
        what = f"FLOPs against {FULL}, {name}"
        if name not in thirds:
            found.append(Goal(what, article, aim, "needs two seeds", "not measured"))
            continue
        third = thirds[name]
        words = f"{percent_interval(third.flops, signed=True)} at {points_interval(third.difference)} points"
        verdicts = [at_most(third.flops, limit)]
        if name == "all":
            shipped = next(row for row in figures.rows if row.system == SHIPPED)
            verdicts.append("reached" if shipped.no_loss else "not reached")
            words += f"; on all problems {_accuracy(shipped)}"  # those with several seeds are a part of them
        found.append(Goal(what, article, aim, words, all_of(verdicts)))
    return found


def error_goals(figures: Figures) -> list[Goal]:
    single, voting = figures.errors_saved_single, figures.errors_saved_voting
    return [
        Goal(
            "errors against one sample",
            "−25 %",
            "−40 %",
            percent_interval(_turned(single), signed=True),
            at_least(single, 0.4),
        ),
        Goal(
            "errors against SC@N with as many tokens",
            "−25 %",
            "−15 %",
            percent_interval(_turned(voting), signed=True),
            at_least(voting, 0.15),
        ),
    ]


def _turned(interval: Interval) -> Interval:
    return Interval(-interval.mean, -interval.high, -interval.low)


def live_goals(figures: Figures) -> list[Goal]:
    what = f"problems per second at the accuracy of {FULL}, same server"
    overhead = "control's share of engine time (gate, budget, policy, bookkeeping)"
    row = next((row for row in figures.live if row.system == SHIPPED), None)
    if row is None:
        return [
            Goal(what, "+40 %", "+100 %", "not served", "not measured"),
            Goal(overhead, "–", "< 3 %", "not served", "not measured"),
        ]
    shipped = next(row for row in figures.rows if row.system == SHIPPED)
    span = Interval(row.speedup - 1, min(row.speedups) - 1, max(row.speedups) - 1)
    words = (
        f"{percent(span.mean, 0, signed=True)} (rounds: {percent(span.low, 0, signed=True)} to "
        f"{percent(span.high, 0, signed=True)}) at {_accuracy(shipped)}"
    )
    verdicts = [at_least(span, 1.0)]
    verdicts.append("reached" if shipped.no_loss else "not reached")
    share = row.control_share
    return [
        Goal(what, "+40 %", "+100 %", words, all_of(verdicts)),
        Goal(overhead, "–", "< 3 %", percent(share), at_most(Interval(share, share, share), 0.03)),
    ]
