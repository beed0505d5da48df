"""The command `controllable-inference eval`: record, replay, serve, and write the page of results."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from transformers.utils.logging import disable_progress_bar

from controllable_inference.bench import analysis, archive, difficulty, gate_figures, page, sweep
from controllable_inference.bench.analysis import FULL, RIVALS, SINGLE, Method, Table
from controllable_inference.bench.figures import Conditions, Figures, Gate, SecondModel
from controllable_inference.bench.goals import goals
from controllable_inference.bench.live import Served, rounds_of, serve
from controllable_inference.bench.measure import Measured, as_json
from controllable_inference.bench.problem_sets import (
    GREEDY,
    OUT_OF_DISTRIBUTION,
    PATHS,
    TEST,
    TOKEN_CAP,
    VALIDATION,
    ProblemSet,
    Scale,
    parts_of,
)
from controllable_inference.bench.second import evaluate as evaluate_second
from controllable_inference.bench.second import smollm
from controllable_inference.bench.sweep import LOOKUP, SHIPPED, Control
from controllable_inference.bench.systems import System, Timing, oracle_systems
from controllable_inference.bench.workers import Job, control_of, cores, measure_all
from controllable_inference.errors import ModelNotFound
from controllable_inference.fetch import check_folder
from controllable_inference.learn.problems import Problem, Split, cells, draw_split
from controllable_inference.model import ControllableInference

SEED = 2025
GREEDY_SYSTEM = "greedy"


def test_problems(count: int, seed: int) -> list[Problem]:
    """`count` shuffled problems of the test split, spread evenly over families and levels."""
    per_cell = math.ceil(count / len(cells()))
    problems = draw_split(Split.TEST, per_cell, seed)
    return random.Random(seed).sample(problems, min(count, len(problems)))


@dataclass(frozen=True)
class EvaluationOptions:
    """output: folder of results.md. work: of recordings. second: another model, None for none."""

    model: Path
    output: Path
    work: Path
    scale: Scale
    quick: bool = False
    live: bool = True
    processes: int = 1
    second: Path | None = None


class Clock:
    """How long stages took; what an earlier run has done already keeps the time of that run."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = max(round(time.monotonic() - began, 1), self.seconds.get(name, 0.0))
        self.file.write_text(json.dumps(self.seconds))


def main(options: EvaluationOptions, console: Console | None = None) -> Figures:
    """Everything, with progress on `console`. Writes results.md, results.json and pictures to the output."""
    console = console or Console()
    disable_progress_bar()  # of loading weights: it would break ours
    cache = options.work / archive.fingerprint(options.model)
    cache.mkdir(parents=True, exist_ok=True)
    clock = Clock(cache / f"seconds-{_digest(asdict(options.scale))}.json")
    parts = parts_of(options.scale)
    methods = _methods(options.model)
    with clock.stage("recording and replay"):
        measured = _measure(options, cache, parts, console)
    chosen = analysis.chosen_settings(Table(measured[VALIDATION, 1]), methods)
    served: list[Served] = []
    systems = [SINGLE, FULL, *(chosen[name] for name in RIVALS if name in chosen), SHIPPED]
    kept = cache / f"served-{_digest([_whole(options.model), asdict(options.scale), systems])}.json"
    if options.live:
        with clock.stage("serving"):
            served = _serve(options, _find_systems(options.model, systems), parts, console)
        kept.write_text(json.dumps([its.to_json() for its in served]))
    elif kept.is_file():
        served = [Served.of_json(plain) for plain in json.loads(kept.read_text())]
    second = None
    if options.second is not None:
        with clock.stage("second model"):
            console.print(f"another model: {options.second}")
            second = evaluate_second(options.second, cache)
    with clock.stage("figures"):
        figures = figures_of(options, parts, measured, methods, chosen, served, second, clock)
        _write(options.output, figures, measured)
    console.print(_terminal(figures))
    console.print(f"written: {options.output / 'results.md'}, results.json and results/")
    return figures


# stages


def _measure(
    options: EvaluationOptions, cache: Path, parts: Sequence[ProblemSet], console: Console
) -> dict[tuple[str, int], Measured]:
    """Every part by name and seed. The validation part comes first: a table of budgets is made from it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    found: dict[tuple[str, int], list[tuple[Sequence[int], Measured]]] = defaultdict(list)
    job = Job(options.model, cache)
    with Progress(*columns, console=console) as bar:
        tasks = {
            (part.name, part.seed): bar.add_task(f"{part.name}, seed {part.seed}", total=len(part.problems))
            for part in parts
        }
        for first in (True, False):
            chunks = [c for part in parts if (part.name == VALIDATION) is first for c in part.chunks()]
            for chunk, its in measure_all(job, chunks, min(options.processes, len(chunks))):
                key = (chunk.part.name, chunk.part.seed)
                found[key].append((chunk.numbers, its))
                bar.advance(tasks[key], len(chunk.numbers))
            if first:
                validation = Measured.join(found[VALIDATION, 1])
                job = replace(job, lookup=analysis.lookup_table(validation))
    return {key: Measured.join(its) for key, its in found.items()}


def _serve(
    options: EvaluationOptions, systems: Sequence[System], parts: Sequence[ProblemSet], console: Console
) -> list[Served]:
    by_seed = {part.seed: part for part in parts if part.name == TEST}
    problems = by_seed[max(by_seed)].problems  # every seed has them
    rounds = rounds_of(
        problems, options.scale.live, sorted(by_seed), lambda s, n: by_seed[s].sampling_seed(n)
    )
    total = sum(len(its.numbers) for its in rounds)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            ControllableInference.from_pretrained(options.model) as model,
            Progress(*columns, console=console) as bar,
        ):
            tasks = {system.name: bar.add_task(f"serving: {system.name}", total=total) for system in systems}
            model.generate(problems[0].question, seed=1)  # what only happens once shall happen before
            return serve(
                model.engine,
                systems,
                rounds,
                progress=lambda name, answered: bar.update(tasks[name], completed=answered),
            )
    finally:
        torch.set_num_threads(threads)


def _methods(model: Path) -> list[Method]:
    """Methods and their settings, as the workers replay them."""
    control, _ = control_of(model)
    systems = [s for group in sweep.groups(control, TOKEN_CAP, PATHS) for s in group.systems]
    return analysis.methods_of([*systems, *oracle_systems(lambda *_: False, TOKEN_CAP, PATHS)])


def _find_systems(model: Path, names: Sequence[str]) -> list[System]:
    control, _ = control_of(model)
    systems = {s.name: s for group in sweep.groups(control, TOKEN_CAP, PATHS) for s in group.systems}
    return [systems[name] for name in names]


# figures


def figures_of(
    options: EvaluationOptions,
    parts: Sequence[ProblemSet],
    measured: dict[tuple[str, int], Measured],
    methods: Sequence[Method],
    chosen: dict[str, str],
    served: Sequence[Served],
    second: SecondModel | None,
    clock: Clock,
) -> Figures:
    """Figures of everything that was measured, goals included."""
    control, _ = control_of(options.model)
    validation = Table(measured[VALIDATION, 1])
    whole = analysis.with_greedy(measured[TEST, 1], measured[GREEDY, 1])
    test = Table(whole)
    ablations = [*control.ablations, *([LOOKUP] if LOOKUP in whole.systems else [])]
    looked_up = Method(LOOKUP, sweep.timing_of(control.shipped), [LOOKUP])
    shown: dict[str, Timing] = {GREEDY_SYSTEM: "parallel"}
    shown |= analysis.shown_systems(list(chosen.values()), [*methods, looked_up], ablations)
    seeds = {seed: its for (name, seed), its in measured.items() if name == TEST}
    repeated = range(min(len(its.problems) for its in seeds.values()))
    same = {seed: seeds[seed].where(repeated) for seed in sorted(seeds)}
    headline = [SINGLE, FULL, *(chosen[name] for name in RIVALS if name in chosen), SHIPPED]
    thirds, every = difficulty.thirds(list(same.values())) if len(same) > 1 else ([], None)
    by_method = {method.name: method for method in methods}
    single, voting = analysis.errors_saved(test, by_method[analysis.VOTING].settings)
    figures = Figures(
        conditions=_conditions(options, parts, measured, len(repeated), clock),
        chosen=chosen,
        rows=[test.row(name, timing) for name, timing in shown.items()],
        frontiers=analysis.frontiers(validation, test, _compared(methods, control)),
        gate=_gate(control, validation, test, methods),
        thirds=thirds,
        whole=every or difficulty.whole(whole),
        whole_tokens_saved=test.mean(SHIPPED, "tokens").saved_against(test.mean(FULL, "tokens")).interval,
        errors_saved_single=single,
        errors_saved_voting=voting,
        seeds=analysis.seed_rows(same, headline) if len(same) > 1 else [],
        budget=analysis.budget_figures(measured[VALIDATION, 1], whole) if control.budget_dims else None,
        live=analysis.live_rows(served, {name: shown[name] for name in headline}, seeds),
        kinds=analysis.kinds(whole),
        outside=analysis.outside(
            {name: measured[name, 1] for name in OUT_OF_DISTRIBUTION if (name, 1) in measured},
            {name: shown[name] for name in [*headline, "oracle"] if name in shown},
        ),
        second=second,
    )
    return replace(figures, goals=goals(figures))


def _compared(methods: Sequence[Method], control: Control) -> list[Method]:
    """Methods with a frontier: not what is only there to be looked at."""
    left_out = {"greedy", "fast", sweep.PRUNING, sweep.UNGUARDED, *control.ablations}
    return [method for method in methods if method.name not in left_out]


def _gate(control: Control, validation: Table, test: Table, methods: Sequence[Method]) -> Gate | None:
    if control.gate is None:
        return None
    return gate_figures.gate_figures(validation, test, methods, control.gate.min_steps)


def _conditions(
    options: EvaluationOptions,
    parts: Sequence[ProblemSet],
    measured: dict[tuple[str, int], Measured],
    repeated: int,
    clock: Clock,
) -> Conditions:
    tokens = sum(path.tokens for its in measured.values() for p in its.problems for path in p.paths)
    return Conditions(
        model=options.model.name,
        fingerprint=archive.fingerprint(options.model),
        date=date.today().isoformat(),
        machine=machine(),
        versions={name: version(name) for name in ("torch", "transformers", "reasoning-gym")},
        problems=len(measured[TEST, 1].problems),
        repeated=repeated,
        seeds=len({part.seed for part in parts if part.name == TEST}),
        validation=len(measured[VALIDATION, 1].problems),
        paths=PATHS,
        token_cap=TOKEN_CAP,
        recorded_tokens=tokens,
        seconds=clock.seconds,
        quick=options.quick,
    )


def machine() -> str:
    """The processor's name and the cores that may be used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (line for line in info.read_text().splitlines() if line.startswith("model name"))
        name = next(lines, name).split(":")[-1].strip()
    return f"{cores()} cores of {name}"


# files


def _write(output: Path, figures: Figures, measured: dict[tuple[str, int], Measured]) -> None:
    from controllable_inference.bench import plots

    output.mkdir(parents=True, exist_ok=True)
    plots.draw(figures, output / "results")
    (output / "results.md").write_text(page.page(figures, "results"), encoding="utf-8")
    means = {f"{name}, seed {seed}": as_json(its) for (name, seed), its in sorted(measured.items())}
    text = json.dumps(asdict(figures) | {"means": means}, indent=1, default=_plain, ensure_ascii=False)
    (output / "results.json").write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return value.item()


def _terminal(figures: Figures) -> RichTable:
    shown = RichTable("figure", "aim", "measured", "reached", title=f"{figures.conditions.problems} problems")
    for goal in figures.goals:
        shown.add_row(goal.what, goal.aim, goal.measured, goal.verdict)
    return shown


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _whole(folder: Path) -> list[str]:
    """Of all files of a model: what is served depends on each."""
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir()) if p.is_file()]


def options_of(
    model: Path,
    *,
    problems: int | None = None,
    seeds: int | None = None,
    output: Path | None = None,
    work: Path = Path("build/eval"),
    live: bool = True,
    quick: bool = False,
    processes: int | None = None,
    second: str | None = None,
) -> EvaluationOptions:
    """What the command was given, with what it leaves open filled in. A quick run writes beside its work.

    second: path of another model, "none" for none, None for SmolLM2 where it is installed (and not if quick).
    Raises ModelNotFound, before anything is written.
    """
    check_folder(model, str(model))
    scale = Scale.quick() if quick else Scale()
    if problems is not None:
        scale = scale.with_problems(problems)
    if seeds is not None:
        scale = replace(scale, seeds=seeds)
    other = None
    if second not in (None, "none"):
        other = Path(second)
        if not other.exists():
            raise ModelNotFound(f"--second-model: there is no {second}")
    elif second is None and not quick:
        other = smollm()
    where = output or (work / "quick" if quick else Path("docs"))
    return EvaluationOptions(model, where, work, scale, quick, live, processes or cores(), other)
