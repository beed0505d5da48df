"""A model that nobody trained control for: sampled as its makers say, on one path, as long as it likes."""

import pytest
import torch
from controllable_inference import ControllableInference, RequestBudget, SamplingParams
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.config import ControlSettings
from controllable_inference.core.load import budget_rule
from controllable_inference.core.steps import StepDelimiters
from controllable_inference.engines.limits import EngineLimits
from tiny_engines import make_model, make_tokenizer, save_checkpoint
from transformers import GenerationConfig

SMALL = EngineLimits(kv_blocks=200)


@pytest.fixture
def checkpoint(tmp_path):
    """Saved with what its makers say of sampling."""

    def make(**generation):
        model = make_model()
        model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0, **generation)
        return save_checkpoint(tmp_path, model, make_tokenizer())

    return make


def test_a_greeting_gets_one_path(checkpoint):
    with ControllableInference.from_pretrained(checkpoint(), limits=SMALL) as model:
        assert model.generate("hi", seed=1).usage.paths_started == 1
        assert model.generate("hi", seed=1, budget="high").usage.paths_started == 1


def test_more_paths_are_there_for_the_asking(checkpoint):
    with ControllableInference.from_pretrained(checkpoint(), limits=SMALL) as model:
        assert model.generate("hi", seed=1, paths=5).usage.paths_started == 5
        assert model.generate("hi", seed=1, paths=5, max_paths=3).usage.paths_started == 3
        assert model.generate("hi", seed=1, paths=99).usage.paths_started == 16  # what the operator allows


def test_it_writes_until_its_context_is_full_unless_the_operator_says_otherwise(checkpoint):
    folder = checkpoint()
    torch.manual_seed(0)
    for control, most in ((None, 254), ({"compute_budget": {"max_tokens": 9}}, 9)):
        with ControllableInference.from_pretrained(folder, limits=SMALL, control=control) as model:
            never_ends = [model.generate("hi", seed=seed) for seed in range(3)]
            assert max(result.paths[0].tokens for result in never_ends) == most


def test_the_coefficient_buys_length():
    rule = budget_rule(None, ControlSettings(), thinks=True)
    assert (rule.base_paths, rule.base_tokens, rule.answer_share) == (1, None, 0.125)


@pytest.mark.parametrize(
    ("generation", "asked", "expected"),
    [
        ({}, {}, (1.0, 1.0, 0)),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}, {}, (0.6, 0.95, 20)),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95}, {"temperature": 0.0}, (0.0, 0.95, 0)),
        ({"do_sample": True, "temperature": 7.0}, {}, (1.0, 1.0, 0)),  # nothing that could be meant
    ],
)
def test_sampling_is_what_generation_config_says_where_a_request_says_nothing(
    checkpoint, generation, asked, expected
):
    drawn = []
    with ControllableInference.from_pretrained(checkpoint(**generation), limits=SMALL) as model:
        rule = model.engine.controller.plan
        model.engine.controller.plan = lambda prompt: drawn.append(prompt.sampling) or rule(prompt)
        model.generate("hi", SamplingParams(max_tokens=2, **asked), budget=RequestBudget(max_tokens=2))
    (sampling,) = drawn
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == expected


@pytest.mark.parametrize(
    ("delimiters", "tokens", "ends"),
    [
        (["\n\n"], ["a", "\n", "\n", "b"], [3]),
        (["\n\n"], ["a\n", "\nb", "c"], [2]),
        (["\n\n"], ["a", "\n\n", "b"], [2]),
        (["\n\n"], ["a", "\n", "b", "\n"], []),
        (["\n\n", ". "], ["a.", " b", "."], [2]),
        (["Wait"], ["W", "a", "it", "W", "ai"], [3]),
    ],
)
def test_a_delimiter_may_take_several_tokens(delimiters, tokens, ends):
    steps = StepDelimiters(delimiters, lambda token: tokens[token])
    assert steps.boundaries(range(len(tokens)), think_end=None) == ends


def test_paths_are_not_pruned_for_memory_because_of_who_else_is_there(stepped):
    def texts(blocks, beside):
        engine = stepped(MajorityVote(4, 60), kv_blocks=blocks)
        watched = [engine.submit("1+2=", SamplingParams(seed=seed)) for seed in range(1 + beside)]
        engine.run()
        return [[(p.fate, p.reason, p.text) for p in request.result.paths] for request in watched]

    alone = texts(256, beside=0)
    crowded = texts(24, beside=3)  # too few blocks for two of them
    assert crowded[0] == alone[0]
    assert not [reason for paths in crowded for _, reason, _ in paths if reason == "memory"]
