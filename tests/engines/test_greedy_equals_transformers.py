import pytest
import torch
from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.request import SamplingParams
from tiny_engines import Stepped, make_engine, make_model

PROMPTS = ["what is 2+3?", "a", "count to 100: " + "1 2 3 4 5 6 7 8 9 " * 4]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("step_tokens", [2048, 16])
def test_one_greedy_path_is_what_generate_gives(stepped, models_by_family, tokenizer, family, step_tokens):
    engine = stepped(SingleSample(60), family, max_step_tokens=step_tokens, max_rows=16)
    asked = [engine.submit(p, SamplingParams(temperature=0)) for p in PROMPTS]
    engine.run()
    for prompt, request in zip(PROMPTS, asked, strict=True):
        ids = torch.tensor([tokenizer.encode(prompt)])
        expected = models_by_family[family].generate(ids, do_sample=False, max_new_tokens=60, pad_token_id=0)
        expected = expected[0, ids.shape[1] :].tolist()
        text = tokenizer.decode([t for t in expected if t != tokenizer.eos_token_id])
        assert request.texts == [text]
        assert request.result.usage.completion_tokens == len(expected)


def test_a_sliding_window_is_heeded(tokenizer):
    model = make_model("qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=0)
    assert "sliding_attention" in model.config.layer_types
    engine = Stepped(make_engine(model, tokenizer, SingleSample(40), max_step_tokens=16, max_rows=16))
    asked = engine.submit(PROMPTS[2], SamplingParams(temperature=0))
    engine.run()
    ids = torch.tensor([tokenizer.encode(PROMPTS[2])])
    expected = model.generate(ids, do_sample=False, max_new_tokens=40, pad_token_id=0)[0, ids.shape[1] :]
    assert asked.texts == [tokenizer.decode([t for t in expected.tolist() if t != tokenizer.eos_token_id])]
