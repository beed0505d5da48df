"""What budgets do to thinking: whether each is honoured, whether there is an answer, and what it costs.

    python -m benchmarks.thinking_budgets [--model models/nano] [--requests 1000] [--write]

Thinking budgets: one path a request, every budget on the same problems with the same seeds. Efforts: the
shipped control. --write puts the page beside this file (THINKING_BUDGETS.md).
"""

import argparse
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch
from controllable_inference.bench.wording import number, percent, table
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


def share(flags: Iterable[bool]) -> str:
    return percent(fmean(flags))


def account(problems: Sequence[Problem], results: Sequence[Result]) -> list[str]:
    """What every table tells: answers, right ones, tokens of a request."""
    return [
        share(bool(result.content) for result in results),
        share(is_correct(p, r.answer) for p, r in zip(problems, results, strict=True)),
        number(fmean(result.usage.completion_tokens for result in results), 1),
    ]


def closed(results: Sequence[Result]) -> str:
    return share(result.usage.paths_closed > 0 for result in results)


def by_budget(model: ControllableInference, problems: Sequence[Problem]) -> str:
    rows = []
    for most in BUDGETS:
        results = ask(model, problems, RequestBudget(paths=1, coefficient=1.0, thinking_tokens=most))
        thinking = [result.usage.reasoning_tokens for result in results]
        within = share(most is None or tokens <= most for tokens in thinking)
        name = "none given" if most is None else str(most)
        rows.append([name, number(max(thinking)), within, closed(results), *account(problems, results)])
    head = ["thinking budget", "longest thinking", "within it", "closed", "answers", "right", "tokens"]
    return table(head, rows)


def by_patience(model: ControllableInference, problems: Sequence[Problem]) -> str:
    single = SingleSample(512)
    settings: list[tuple[str, Controller]] = [("no trials", single)]
    settings += [(str(patience), EarlyExit(single, patience=patience)) for patience in (1, 2, 3, 5)]
    settings.append(("3, every second step", EarlyExit(single, patience=3, every=2)))
    rows = []
    for name, controller in settings:
        results = ask(model, problems, RequestBudget(), controller)
        of_trials = number(fmean(result.usage.probe_tokens for result in results), 1)
        rows.append([name, closed(results), *account(problems, results), of_trials])
    head = [
        "trials that must agree",
        "closed early",
        "answers",
        "right",
        "tokens, trials included",
        "of trials",
    ]
    return table(head, rows)


def by_effort(model: ControllableInference, problems: Sequence[Problem]) -> str:
    families = dict.fromkeys(problem.family for problem in problems)
    rows, tokens = [], {family: [family] for family in families}
    for effort in EFFORTS:
        results = ask(model, problems, RequestBudget(effort=effort))
        rows.append([effort, *account(problems, results)])
        used = [result.usage.completion_tokens for result in results]
        for family in families:
            mine = (used[at] for at, problem in enumerate(problems) if problem.family == family)
            tokens[family].append(number(fmean(mine), 1))
    by_family = table(["tokens by family", *EFFORTS], list(tokens.values()))
    return table(["effort", "answers", "right", "tokens"], rows) + "\n\n" + by_family


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
            by_budget(model, problems),
            "## Early exit by trial answers, one path a request",
            f"{len(some)} of the problems.",
            by_patience(model, some),
            "## Efforts, with the shipped control",
            f"{len(some)} of the problems.",
            by_effort(model, some),
        ]
    page = "\n\n".join(parts) + "\n"
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
