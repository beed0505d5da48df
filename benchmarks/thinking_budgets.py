"""What budgets do to thinking: whether each is honoured, whether there is an answer, and what it costs.

    python -m benchmarks.thinking_budgets [--model models/nano] [--requests 1000] [--write]

Thinking budgets: one path a request, every budget on the same problems with the same seeds. Efforts: the
shipped control. --write puts the page beside this file (THINKING_BUDGETS.md).
"""

import argparse
import platform
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch
from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.controller import Controller
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.request import RequestBudget, Result, SamplingParams
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.problems import Problem, Split, cells, draw_split, is_correct
from controllable_inference.model import ControllableInference

from benchmarks.machine import processor

SEED = 131
BUDGETS = (8, 16, 32, 64, 128, None)
EFFORTS = ("none", "minimal", "low", "medium", "high")
FEWER = 4
"""Of so many problems one is asked where a request takes many paths, or many trials."""
PAGE = Path(__file__).with_name("THINKING_BUDGETS.md")


def ask(
    model: ControllableInference,
    problems: Sequence[Problem],
    budget: RequestBudget,
    controller: Controller | None = None,
) -> list[Result]:
    samplings = [SamplingParams(seed=SEED + at) for at in range(len(problems))]
    results, _ = ask_all(
        model.engine,
        [p.question for p in problems],
        samplings,
        controller=controller,
        budget=budget,
        concurrency=64,
    )
    return results


def percent(flags: Sequence[bool]) -> str:
    return f"{100 * fmean(flags):.1f} %"


def by_budget(model: ControllableInference, problems: Sequence[Problem]) -> list[str]:
    lines = [
        "| thinking budget | longest thinking | within it | closed | answers | right | tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for most in BUDGETS:
        results = ask(model, problems, RequestBudget(paths=1, coefficient=1.0, thinking_tokens=most))
        thinking = [result.usage.reasoning_tokens for result in results]
        cells_of_row = [
            "none given" if most is None else str(most),
            str(max(thinking)),
            percent([most is None or tokens <= most for tokens in thinking]),
            percent([result.usage.paths_closed > 0 for result in results]),
            percent([bool(result.content) for result in results]),
            percent([is_correct(p, r.answer) for p, r in zip(problems, results, strict=True)]),
            f"{fmean(result.usage.completion_tokens for result in results):.1f}",
        ]
        lines.append("| " + " | ".join(cells_of_row) + " |")
    return lines


def by_patience(model: ControllableInference, problems: Sequence[Problem]) -> list[str]:
    lines = [
        "| trials that must agree | closed early | answers | right | tokens, trials included | of trials |",
        "|---|---|---|---|---|---|",
    ]
    single = SingleSample(512)
    settings: list[tuple[str, Controller]] = [("no trials", single)]
    settings += [(str(patience), EarlyExit(single, patience=patience)) for patience in (1, 2, 3, 5)]
    settings.append(("3, every second step", EarlyExit(single, patience=3, every=2)))
    for name, controller in settings:
        results = ask(model, problems, RequestBudget(), controller)
        cells_of_row = [
            name,
            percent([result.usage.paths_closed > 0 for result in results]),
            percent([bool(result.content) for result in results]),
            percent([is_correct(p, r.answer) for p, r in zip(problems, results, strict=True)]),
            f"{fmean(result.usage.completion_tokens for result in results):.1f}",
            f"{fmean(result.usage.probe_tokens for result in results):.1f}",
        ]
        lines.append("| " + " | ".join(cells_of_row) + " |")
    return lines


def by_effort(model: ControllableInference, problems: Sequence[Problem]) -> list[str]:
    tokens: dict[str, dict[str, float]] = defaultdict(dict)
    lines = ["| effort | answers | right | tokens |", "|---|---|---|---|"]
    for effort in EFFORTS:
        results = ask(model, problems, RequestBudget(effort=effort))
        right = percent([is_correct(p, r.answer) for p, r in zip(problems, results, strict=True)])
        answers = percent([bool(result.content) for result in results])
        used = [result.usage.completion_tokens for result in results]
        lines.append(f"| {effort} | {answers} | {right} | {fmean(used):.1f} |")
        for family in dict.fromkeys(p.family for p in problems):
            mine = [used[at] for at, p in enumerate(problems) if p.family == family]
            tokens[family][effort] = fmean(mine)
    lines += ["", f"| tokens by family | {' | '.join(EFFORTS)} |", "|---" * (len(EFFORTS) + 1) + "|"]
    lines += [
        f"| {family} | " + " | ".join(f"{used[effort]:.1f}" for effort in EFFORTS) + " |"
        for family, used in tokens.items()
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="models/nano")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    problems = draw_split(Split.TEST, -(-options.requests // len(cells())) + 1, SEED)[: options.requests]
    some = problems[::FEWER]
    with ControllableInference.from_pretrained(options.model) as model:
        parts = [
            "# Thinking budgets",
            f"{len(problems)} problems of the test split, {options.model}, seed {SEED}; {processor()}, "
            f"Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}. Made by "
            "`python -m benchmarks.thinking_budgets --write`.",
            "## One path a request",
            "\n".join(by_budget(model, problems)),
            "## Early exit by trial answers, one path a request",
            f"{len(some)} of the problems.",
            "\n".join(by_patience(model, some)),
            "## Efforts, with the shipped control",
            f"{len(some)} of the problems.",
            "\n".join(by_effort(model, some)),
        ]
    page = "\n\n".join(parts) + "\n"
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
