"""One model on two CPU processes gives what it gives on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from controllable_inference import ControllableInference, DomainAdapter, SamplingParams
from controllable_inference.core.config import ControlConfig
from controllable_inference.core.controller import BudgetRule, GatedController, confidence_rank
from controllable_inference.core.events import Done
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.errors import AdapterError
from test_limits import Waiter
from tiny_engines import FAMILIES, make_model, make_tokenizer, other_ranks, save_checkpoint

pytestmark = pytest.mark.usefixtures("quick_ranks")
SMALL = EngineLimits(kv_blocks=256)  # enough for all: who gives way for memory depends on who came when
PROMPTS = [
    "1+2=",
    "what is 12+30? and then? and after that, and in the end, and ever?",
    "3",
    "what is 7*8, and what is 9?",
]


class Listening(GatedController):
    """Prunes by confidence, and keeps the hidden states of prompts."""

    def __init__(self) -> None:
        super().__init__(
            BudgetRule(4, 60, 4), confidence_rank, threshold=0.6, min_keep=1, weight=None, min_steps=1
        )
        self.needs_prompt_hidden = True
        self.heard: list[torch.Tensor] = []

    def plan(self, prompt):
        self.heard.append(prompt.hidden)
        return super().plan(prompt)


def load(folder: Path, ranks: int) -> ControllableInference:
    return ControllableInference.from_pretrained(
        folder, limits=SMALL, controller=Listening(), tensor_parallel=ranks
    )


def asked_at_once(model: ControllableInference, sampling: list[SamplingParams]) -> list:
    waiters = []
    for prompt, params in zip(PROMPTS, sampling, strict=True):
        waiters.append(Waiter())
        model.engine.submit(prompt, params, on_event=waiters[-1])
    ends = [waiter.last for waiter in waiters]
    assert all(isinstance(end, Done) for end in ends), ends
    return [end.result for end in ends]


@pytest.fixture(scope="module", params=list(FAMILIES))
def checkpoint(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    return save_checkpoint(folder, make_model(request.param), make_tokenizer(), ControlConfig())


@pytest.fixture(scope="module")
def one(checkpoint):
    with load(checkpoint, 1) as model:
        yield model


@pytest.fixture(scope="module")
def two(checkpoint, quick_ranks):
    with load(checkpoint, 2) as model:
        yield model
    assert not other_ranks()


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_two_ranks_give_the_tokens_that_one_gives(one, two, temperature):
    sampling = [SamplingParams(temperature=temperature, seed=seed, max_tokens=60) for seed in range(4)]
    alone, shared = (asked_at_once(model, sampling) for model in (one, two))
    assert [[(p.text, p.fate) for p in result.paths] for result in shared] == [
        [(p.text, p.fate) for p in result.paths] for result in alone
    ]
    if temperature:
        assert sum(result.usage.paths_pruned for result in alone) > 0


def test_hidden_states_are_the_same_but_for_rounding(one, two):
    for model in (one, two):
        model.engine.controller.heard.clear()
        model.generate(PROMPTS[1], SamplingParams(max_tokens=2), seed=1)
    torch.testing.assert_close(
        two.engine.controller.heard[0], one.engine.controller.heard[0], rtol=1e-4, atol=1e-4
    )


def test_each_rank_holds_its_share_of_weights_and_cache(one, two):
    def held(model):
        layer = model.model.model.layers[0]
        weights = [layer.self_attn.k_proj, layer.self_attn.o_proj, layer.mlp.down_proj]
        local = [getattr(w.weight, "to_local", lambda w=w: w.weight)().numel() for w in weights]
        return [*local, model.engine._runner.cache.data.numel()]

    assert held(two) == [size // 2 for size in held(one)]
    assert len(other_ranks()) == 1


def test_it_takes_no_adapters_and_says_so(two):
    with pytest.raises(AdapterError, match="tensor_parallel greater than 1 takes no domain adapters"):
        two.add_adapter(DomainAdapter("medical", ["<dose>"]))
