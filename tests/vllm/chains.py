"""Recorded chains, and two engines that write them instead of what they would draw.

What control sees of a chain, and decides, is then the same on both, as far as their numbers are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from controllable_inference.core.features import token_statistics
from controllable_inference.core.request import RequestBudget, Result, SamplingParams
from controllable_inference.engines.native import engine_core
from controllable_inference.engines.path_key import path_key
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.problems import Problem
from controllable_inference.model import ControllableInference

NANO = Path(__file__).resolve().parents[2] / "models" / "nano"

Chains = dict[int, list[int]]
"""Tokens of whole paths by the path's key, which its request's seed and its index make."""


def seed(number: int) -> int:
    return 4000 + number


def record(model: ControllableInference, problems: Sequence[Problem], controller: Any) -> Chains:
    """What the native engine writes without control: every path to its end."""
    results = ask(model, problems, controller=controller)
    encode = model.engine.vocabulary.detokenizer.encode
    (eos,) = model.engine.vocabulary.eos
    return {
        path_key(seed(number), path.index): [*encode(path.text), eos]
        for number, result in enumerate(results)
        for path in result.paths
    }


def ask(
    model: ControllableInference, problems: Sequence[Problem], controller: Any = None, **budget: Any
) -> list[Result]:
    results, _ = ask_all(
        model.engine,
        [problem.question for problem in problems],
        [SamplingParams(1.0, seed=seed(number)) for number in range(len(problems))],
        controller=controller,
        budget=RequestBudget(**budget),
        concurrency=16,
    )
    return results


@contextmanager
def native_writes(chains: Chains) -> Iterator[None]:
    def written(logits: torch.Tensor, batch: Any) -> tuple[torch.Tensor, Any]:
        rows = zip(batch.keys.tolist(), batch.counters.tolist(), strict=True)
        tokens = torch.tensor([token_of(chains, key, at) for key, at in rows])
        return tokens, token_statistics(torch.log_softmax(logits.float(), dim=-1), tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_core, "sample", written)
        yield


@contextmanager
def vllm_writes(model: ControllableInference, chains: Chains) -> Iterator[None]:
    """vLLM goes on from the recorded token, whatever its sampler drew."""
    runner: Any = model.engine._runner  # type: ignore[attr-defined]
    worker = runner._engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
    rows: Any = model.engine._core.rows  # type: ignore[attr-defined]
    sample = worker._sample
    add = rows._add
    keys: dict[str, tuple[int, int]] = {}  # by vLLM's row: whose it is, and how many tokens it had before

    def noted(path: Any) -> None:
        add(path)
        keys[rows._rows[path].name] = (path.key, len(path.tokens))

    def written(logits: torch.Tensor, metadata: Any) -> Any:
        output = sample(logits, metadata)
        for at, request_id in enumerate(worker.input_batch.req_ids):
            name = request_id.rsplit("-", 1)[0]
            if name in keys:
                key, before = keys[name]
                drawn = worker.requests[request_id].output_token_ids
                output.sampled_token_ids[at, 0] = token_of(chains, key, before + len(drawn))
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "_sample", written)
        patch.setattr(rows, "_add", noted)
        yield


def token_of(chains: Chains, key: int, at: int) -> int:
    chain = chains[key]
    return chain[min(at, len(chain) - 1)]
