"""docs/results.md from figures. Pure: the same figures give the same page."""

from __future__ import annotations

from collections.abc import Sequence

from controllable_inference.bench.analysis import FULL, SINGLE
from controllable_inference.bench.figures import Figures, Frontier, Gate, Goal, LiveRow, Row
from controllable_inference.bench.frontier import LARGEST_LOSS, LOWEST_END
from controllable_inference.bench.problem_sets import FOREIGN, HARDER, UNSEEN_FAMILIES
from controllable_inference.bench.sweep import SHIPPED
from controllable_inference.bench.systems import Timing
from controllable_inference.bench.wording import (
    flow,
    large,
    number,
    percent,
    percent_interval,
    points,
    points_interval,
    table,
    with_interval,
)

LABELS = {SINGLE: "one sample", FULL: f"{FULL}, full voting", SHIPPED: "**shipped**"}
VERDICTS = {
    "reached": "**yes**",
    "reached, uncertain": "as measured; the interval allows less",
    "not reached": "**missed**",
    "not measured": "not measured",
}
ALT = {
    "frontier_tokens": flow("""Accuracy against path-tokens a problem: one line a method, the shipped
        control's in orange; hollow markers start some paths only after others have ended; bars are 95 %
        intervals of the difference from full voting."""),
    "frontier_flops": "Accuracy against FLOPs a problem, for the same methods.",
    "frontier_chain": flow("""Accuracy against the longest chain of tokens, a stand-in for latency: hollow
        markers wait for paths that start only after others have ended."""),
    "reliability": flow("""Share of paths that ended right against the probability that the gate gave, in
        ten bins, beside the diagonal of a perfect gate."""),
    "auc": "AUC of the gate against the share of a path's steps: pooled, and within a problem.",
    "thirds": f"Path-tokens of {FULL} and of the shipped control, for easy, middle and hard problems.",
}
OUTSIDE = {
    UNSEEN_FAMILIES: "The model knows these families; gate, budget and policy have never seen them.",
    HARDER: "Known families, a level harder than anything that any part was trained on.",
    FOREIGN: "A family that not even the model was trained on.",
}
ABLATIONS = """ *without …*: the shipped control less that part. Without the gate nothing is pruned, votes
    count the same, and there is no policy; without the policy all paths that the budget allows start at
    once. *Budget looked up*: predictions from a table of failure rates by family and level."""
ALLOWED = f"{100 * LARGEST_LOSS:.1f}"
HEAD = (
    "system",
    "accuracy",
    f"against {FULL}, points",
    "path-tokens",
    "FLOPs",
    "longest chain",
    "paths",
    "pruned",
    "stopped",
)


def page(figures: Figures, pictures: str) -> str:
    """pictures: folder of the plots, relative to the page."""
    sections = [
        _title(figures),
        _goals(figures),
        _systems(figures, pictures),
        _equal_accuracy(figures),
        _gate(figures.gate, pictures) if figures.gate else "",
        _difficulty(figures, pictures),
        _live(figures),
        _seeds(figures),
        _outside(figures),
        _second(figures),
        _method(figures),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def picture(pictures: str, name: str) -> str:
    return f"![{ALT[name]}]({pictures}/{name}.svg)"


def label(system: str, timing: Timing = "parallel") -> str:
    """As tables call it, with a mark where some paths start only after others have ended."""
    return LABELS.get(system, system) + (" ◇" if timing == "sequential" else "")


def _section(title: str, *blocks: str) -> str:
    return "\n\n".join((f"## {title}", *(block for block in blocks if block)))


def _title(figures: Figures) -> str:
    its = figures.conditions
    made = flow(f"""`{its.model}` on {its.problems:,} problems that no part of it was trained, calibrated
        or chosen on; {its.paths} recorded paths each. Made by `make eval` on {its.date} ({its.machine},
        {sum(its.seconds.values()) / 60:.0f} minutes); nothing on this page is typed in. [All figures as
        JSON](results.json). Intervals are 95 %.""")
    quick = "**Made with `--quick`: too few problems to mean anything; only the format is real.**"
    return "\n\n".join(("# What the control is worth", made, *([quick] if its.quick else [])))


def _goals(figures: Figures) -> str:
    rows = [(g.what, g.article, g.aim, g.measured, VERDICTS[g.verdict]) for g in figures.goals]
    text = flow(f"""*No loss* is non-inferiority to {FULL}, paired by problem: at most {ALLOWED} points
        worse as measured, and a 95 % interval that ends at {points(LOWEST_END)} point or above. *As
        measured* means that the figure meets the aim and its interval reaches beyond it.""")
    head = ("", "article", "aim", "measured", "reached")
    return _section("Figures to reach", _score(figures.goals), table(head, rows, numbers=False), text)


def _score(goals: Sequence[Goal]) -> str:
    """What was missed stands first, by name."""
    missed = [goal.what for goal in goals if goal.verdict == "not reached"]
    barely = sum(goal.verdict == "reached, uncertain" for goal in goals)
    reached = barely + sum(goal.verdict == "reached" for goal in goals)
    unknown = len(goals) - reached - len(missed)
    counts = f"{reached} of {len(goals)} aims reached"
    counts += f" ({barely} only as measured)" if barely else ""
    counts += f", {len(missed)} missed"
    counts += f", {unknown} not measured" if unknown else ""
    return f"{counts}. Missed: {'; '.join(missed)}." if missed else f"{counts}."


def _row(row: Row) -> tuple[str, ...]:
    return (
        label(row.system, row.timing),
        percent_interval(row.accuracy),
        "" if row.system == FULL else points_interval(row.difference),
        with_interval(row.tokens),
        large(row.flops.mean),
        number(row.chain.mean),
        number(row.paths, 1),
        percent(row.pruned, 0),
        percent(row.stopped, 0),
    )


def _systems(figures: Figures, pictures: str) -> str:
    its = figures.conditions
    return _section(
        "Accuracy and cost",
        picture(pictures, "frontier_tokens"),
        flow("""Bars: 95 % interval of the difference from full voting, paired by problem. Hollow: some
            paths start only after others have ended."""),
        table(HEAD, [_row(row) for row in figures.rows]),
        flow(f"""A problem, on average. *Longest chain*: tokens that have to be generated one after
            another before the answer is there, a stand-in for latency. ◇ starts some paths only after others
            have ended, which saves tokens and costs latency; all others start all their paths at once.
            *oracle* knows the right answer when it sees it: no choice among {its.paths} paths can do
            better.{ABLATIONS if any(row.system.startswith("without ") for row in figures.rows) else ""}"""),
        flow(f"""Settings were chosen on {its.validation} validation problems: of each method the cheapest
            that is as accurate there as {FULL} less {ALLOWED} points, or else the most accurate
            ({"; ".join(figures.chosen.values())})."""),
        picture(pictures, "frontier_flops"),
        picture(pictures, "frontier_chain"),
        _kinds(figures),
    )


def _kinds(figures: Figures) -> str:
    rows = [
        (
            kind.name,
            number(kind.problems),
            percent(kind.pass_rate, 0),
            *(f"{percent(accuracy, 0)} ({number(tokens)})" for accuracy, tokens in (kind.full, kind.shipped)),
        )
        for kind in figures.kinds
    ]
    head = ("accuracy (path-tokens)", "problems", f"a path, of {figures.conditions.paths}", FULL, SHIPPED)
    return table(head, rows)


def _equal_row(frontier: Frontier) -> tuple[str, ...]:
    return (
        label(frontier.method, frontier.timing),
        with_interval(frontier.tokens),
        percent_interval(frontier.saved, 0),
        large(frontier.flops.mean),
        number(frontier.chain.mean),
        "" if frontier.method == SHIPPED else with_interval(frontier.against),
    )


def _equal_accuracy(figures: Figures) -> str:
    head = ("method", "path-tokens", f"saved against {FULL}", "FLOPs", "longest chain", "shipped less this")
    ordered = sorted(figures.frontiers, key=lambda f: f.tokens.mean)
    text = flow(f"""What a method pays for the accuracy of {FULL} less {ALLOWED} points: of those of its
        settings that were efficient on validation problems the two neighbours that take fewest path-tokens
        for it, drawn at random in the share that just reaches it. FLOPs and longest chain are those of the
        same draw. Any method may also be switched off, which is {FULL}. *Shipped less this*: difference in
        path-tokens, paired by problem; below zero the shipped control is cheaper. ◇ starts some paths only
        after others have ended: read its tokens beside its chain.""")
    return _section("At the same accuracy", table(head, [_equal_row(f) for f in ordered]), text)


def _gate(gate: Gate, pictures: str) -> str:
    shares = [
        (percent(d.share, 0), with_interval(d.pooled, 3), with_interval(d.within, 3))
        for d in gate.discrimination
    ]
    curve = [
        (
            percent(float(p.setting.rsplit(", ", 1)[1])),
            percent_interval(p.pruned),
            percent_interval(p.recall),
            percent(p.of_bound.mean, 0),
            number(p.tokens.mean),
        )
        for p in gate.curve
    ]
    return _section(
        "The gate",
        f"{picture(pictures, 'auc')} {picture(pictures, 'reliability')}",
        table(("share of the steps", "AUC pooled", "AUC within a problem"), shares),
        flow(f"""Calibration error {with_interval(gate.error, 3)}: the mean gap between the probability
            that the gate gives and the share that ended right, over ten bins of equal weight, each path
            weighing the same."""),
        "Pruning and nothing else, without a guard, by the probability of ending right:",
        table(
            ("pruned at or under", "paths pruned", "recall of right paths", "of the bound", "path-tokens"),
            curve,
        ),
        flow(f"""One sample is right with a = {percent(gate.single)}, so whoever keeps 98 % of the right
            paths can drop no more than 1 − 0.98·a = {percent(gate.bound)} of all. The article's 62 % at
            98 % is therefore read in two ways here: of paths, and of problems that stay solved."""),
    )


def _difficulty(figures: Figures, pictures: str) -> str:
    its = figures.conditions
    rows = [
        (
            third.name,
            percent(third.pass_rate, 0),
            with_interval(third.full_tokens),
            with_interval(third.tokens),
            percent_interval(third.flops, signed=True),
            points_interval(third.difference),
            with_interval(third.paths, 1),
        )
        for third in (*figures.thirds, figures.whole)
    ]
    head = (
        "problems",
        "pass rate",
        f"tokens, {FULL}",
        f"tokens, {SHIPPED}",
        "FLOPs",
        "accuracy, points",
        f"paths, {SHIPPED}",
    )
    seeds = flow(f"""{its.repeated} problems with {its.seeds} seeds of sampling each, all counted. How
        difficult a problem is, is told by its pass rate in the *other* seeds: by its own, bad luck would
        make a problem hard and dear at once.""")
    return _section(
        "By difficulty",
        picture(pictures, "thirds") if figures.thirds else "",
        table(head, rows),
        seeds if figures.thirds else "",
        _budget(figures),
    )


def _budget(figures: Figures) -> str:
    budget = figures.budget
    if budget is None:
        return ""
    return flow(f"""The coefficient follows the failure rate with a rank correlation of
        {budget.predictor:.2f} {_auc(budget.predictor_auc)}; a table of failure rates by family and level,
        which no server has, reaches {budget.lookup:.2f} {_auc(budget.lookup_auc)}.{_started(figures)}""")


def _started(figures: Figures) -> str:
    """By the control as a whole: not the coefficient alone decides it."""
    if not figures.thirds:
        return ""
    easy, hard = figures.thirds[0].paths.mean, figures.thirds[-1].paths.mean
    return f" The control starts {easy:.1f} paths for a problem of the easy third, {hard:.1f} for a hard one."


def _auc(value: float | None) -> str:
    return "" if value is None else f"(AUC {value:.2f} for problems that fail mostly)"


def _live_row(row: LiveRow) -> tuple[str, ...]:
    return (
        label(row.system, row.timing),
        with_interval(row.p50, 2),
        with_interval(row.p99, 2),
        number(row.problems_per_second, 2),
        f"{row.speedup:.2f} ({min(row.speedups):.2f} to {max(row.speedups):.2f})",
        percent(row.control_share),
    )


def _check_row(row: LiveRow) -> tuple[str, ...]:
    return (
        label(row.system, row.timing),
        percent_interval(row.accuracy),
        percent_interval(row.replayed_accuracy),
        with_interval(row.tokens),
        with_interval(row.replayed_tokens),
        "yes" if row.agrees else "**no**",
    )


def _live(figures: Figures) -> str:
    if not figures.live:
        return _section("Served", "Not served (`--no-live`): no latency, throughput and overhead.")
    head = ("system", "p50, s", "p99, s", "problems/s", f"times {FULL} (rounds)", "control's share")
    check = ("system", "accuracy, served", "replayed", "path-tokens, served", "replayed", "agree")
    return _section(
        "Served",
        table(head, [_live_row(row) for row in figures.live]),
        flow(f"""{figures.live[0].problems} problems through the engine, 16 at once, the systems taking
            turns in each of the rounds. Latency is from submission to the answer; ◇ starts some paths only
            after others have ended, and waits for them. *Control's share*: of
            the engine's time, for statistics of tokens, features, scores, plans and decisions; the first
            is taken whether a system asks for it or not."""),
        flow("""Replay is only worth something if serving gives the same. The same problems with the same
            seeds, served and replayed; they agree where each mean lies in the other's interval:"""),
        table(check, [_check_row(row) for row in figures.live]),
    )


def _seeds(figures: Figures) -> str:
    if not figures.seeds:
        return ""
    seeds = sorted({row.seed for row in figures.seeds})
    by = {(row.system, row.seed): row for row in figures.seeds}
    rows = []
    for system in dict.fromkeys(row.system for row in figures.seeds):
        own = [by[system, seed] for seed in seeds]
        cells = (f"{percent(one.accuracy.mean)} ({number(one.tokens.mean)})" for one in own)
        rows.append((label(system), *cells))
    return _section(
        "Seeds",
        table(("accuracy (path-tokens)", *(f"seed {seed}" for seed in seeds)), rows),
        f"The first {figures.conditions.repeated} problems, sampled anew with each seed.",
    )


def _outside(figures: Figures) -> str:
    if not figures.outside:
        return ""
    blocks: list[str] = []
    for its in figures.outside:
        blocks.append(f"### {its.name[0].upper()}{its.name[1:]} ({its.problems} problems)")
        blocks += [OUTSIDE.get(its.name, ""), table(HEAD, [_row(row) for row in its.rows])]
    return _section("Out of distribution", *blocks)


def _second(figures: Figures) -> str:
    second = figures.second
    if second is None:
        return ""
    return _section(
        "Another model",
        flow(f"""`{second.name}`, {second.parameters / 1e6:.0f} M parameters, {second.problems} problems:
            {second.task}. It has no gate; its paths are pruned by the confidence of their own tokens."""),
        table(HEAD, [_row(row) for row in second.rows]),
    )


def _method(figures: Figures) -> str:
    its = figures.conditions
    versions = ", ".join(f"{name} {version}" for name, version in its.versions.items())
    seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in its.seconds.items())
    items = (
        """Problems come from reasoning-gym, spread evenly over families and levels, and belong to the
        test split by a hash of their text.""",
        f"""With seed 1 the engine sampled {its.paths} whole paths of all {its.problems:,} problems at
            temperature 1, {its.token_cap} tokens each at most; with {its.seeds - 1} more, those of the
            first {its.repeated}. {its.recorded_tokens / 1e6:.1f} M tokens in all. One seed on many
            problems tells more than many seeds on few: a mean varies by the choice of problems and by the
            draw of paths, the bootstrap by problem holds both, and further seeds only lessen the second.""",
        """Controllers are pure functions of what they see, so every system is *replayed* on the same
        recorded paths: comparisons are paired by problem and by path. Those that start paths one after
        another take the recorded ones in order. What compares a path with its siblings is as recorded, with
        all of them alive.""",
        "Latency, throughput and overhead are not replayed; they come from serving.",
        """Intervals: percentile bootstrap, 2,000 rounds, drawing whole problems; one set of draws for all
        systems. The calibration error has the pivotal interval.""",
        """FLOPs are counted from the model's matrices, each path's tokens and their context, the prompt
        once a request; gate, budget predictor and policy are included.""",
        f"Weights `{its.fingerprint}`; {versions}. Time: {seconds}.",
    )
    return _section("How it was measured", "\n".join(f"- {flow(item)}" for item in items))
