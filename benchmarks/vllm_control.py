"""What control costs on vLLM: the same rows with gate and statistics, beside plain vLLM, in one process.

    python -m dev.vllm -m benchmarks.vllm_control MODEL [--rows 1 16 64] [--rounds 5] [--write]

MODEL: a folder of safetensors. Every row has the same prompt and draws the same number of tokens; with
control, each is scored by a gate at every step's end, and none is pruned. Rounds alternate. --write puts the
table beside this file (VLLM_CONTROL.md).
"""

from __future__ import annotations

import argparse
import os
import platform
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from controllable_inference.bench.wording import number, table
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.config import ControlConfig, ControlSettings
from controllable_inference.core.controller import GatedController
from controllable_inference.core.features import feature_dim
from controllable_inference.core.gate import PathGate
from controllable_inference.core.request import SamplingParams
from controllable_inference.core.steps import StepDelimiters
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.vllm.engine import VllmEngine

from benchmarks.machine import processor

PROMPT = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many "
    "clips did Natalia sell altogether in April and May? Think step by step, and write the answer last.\n"
)
PROMPT_TOKENS = 88
TOKENS = 64
PAGE = Path(__file__).with_name("VLLM_CONTROL.md")


def controlled(engine: VllmEngine, prompt: str, rows: int) -> tuple[float, int]:
    """(tokens a second with prefill, how many times a path was scored)"""
    done = threading.Semaphore(0)
    scored = 0

    def on_event(event: Any) -> None:
        nonlocal scored
        scored += event.type == "path_gated"
        if event.type in ("done", "failed"):
            done.release()

    began = time.perf_counter()
    engine.submit(prompt, SamplingParams(1.0, 1.0, 0, seed=1), on_event=on_event, streaming=False)
    done.acquire()
    return rows * TOKENS / (time.perf_counter() - began), scored


def plain(engine: VllmEngine, prompt: str, rows: int) -> float:
    """The same rows on the same vLLM, with nothing of ours between its steps."""
    from vllm import SamplingParams as Sampling
    from vllm.sampling_params import RequestOutputKind

    worker = _worker(engine)
    observed = worker.sample_tokens
    del worker.sample_tokens  # the class's own is there again
    vllm = engine._runner._engine
    tokens = engine.prompts.encode(prompt).slow
    began = time.perf_counter()
    try:
        for row in range(rows):
            sampling = Sampling(
                temperature=1.0,
                seed=row,
                max_tokens=TOKENS,
                ignore_eos=True,
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,
            )
            vllm.add_request(f"plain-{row}", {"prompt_token_ids": tokens}, sampling)
        drawn = 0
        while vllm.has_unfinished_requests():
            drawn += sum(len(output.outputs[0].token_ids) for output in vllm.step())
    finally:
        worker.sample_tokens = observed
    assert drawn == rows * TOKENS
    return rows * TOKENS / (time.perf_counter() - began)


def _worker(engine: VllmEngine) -> Any:
    return engine._runner._engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner


def controller(rows: int, hidden_size: int) -> GatedController:
    gate = PathGate(feature_dim(hidden_size))

    @torch.inference_mode()
    def score(features: torch.Tensor) -> torch.Tensor:
        return gate(features[None])[0]

    rule = BudgetRule(rows, TOKENS, rows, answer_share=0.0)
    # As trained gates are: a score is of a path by itself.
    return GatedController(rule, score, threshold=0.0, weight=None, needs_siblings=False)


def measure(folder: Path, rows: Sequence[int], rounds: int, precision: str) -> list[list[str]]:
    limits = EngineLimits(max_rows=max(*rows, 64), kv_blocks=2000)
    engine = VllmEngine.load(folder, precision, ControlConfig.load(folder), ControlSettings(), limits=limits)
    lines = StepDelimiters(["\n", "."], engine.vocabulary.detokenizer.token_text)
    # No text ends by itself, and none is closed: every row draws the same number of tokens.
    engine.vocabulary = replace(
        engine.vocabulary, eos=frozenset(), delimiters=lines, closing=None, think_end=None
    )
    engine._begin()
    words = engine.prompts.encode(PROMPT * 8).slow[:PROMPT_TOKENS]
    prompt = engine.vocabulary.detokenizer.decode(words)
    found = []
    for count in rows:
        engine.controller = controller(count, engine._runner.hidden_size)
        controlled(engine, prompt, count)
        plain(engine, prompt, count)
        ours, theirs, scored = [], [], 0
        for turn in range(rounds):
            for system in (0, 1) if turn % 2 else (1, 0):
                if system:
                    speed, scored = controlled(engine, prompt, count)
                    ours.append(speed)
                else:
                    theirs.append(plain(engine, prompt, count))
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        found.append(
            [
                str(count),
                number(median(theirs), 1),
                number(median(ours), 1),
                f"{median(ratios):.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]",
                str(scored),
            ]
        )
        print(found[-1], flush=True)
    engine.shutdown()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    rows = measure(asked.model, asked.rows, asked.rounds, asked.precision)
    head = ["rows", "plain vLLM, tokens/s", "with control", "ratio [least, most]", "scores"]
    import vllm

    page = f"""# Control on vLLM

`python -m dev.vllm -m benchmarks.vllm_control MODEL --write`, {datetime.now(UTC):%Y-%m-%d}, {processor()},
{os.cpu_count()} cores, {platform.system()}, vLLM {vllm.__version__} for CPUs, {asked.model.name},
{asked.precision}.

Same rows, {PROMPT_TOKENS} prompt tokens, {TOKENS} drawn each, prefill included; {asked.rounds} rounds of each
system in turns. With control: statistics of every token, hidden states, gate scores at every step's end; one
question with all rows as its paths.

{table(head, rows)}
"""
    print(page)
    if asked.write:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
