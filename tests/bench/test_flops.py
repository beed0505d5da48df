import pytest
import torch
from controllable_inference.bench import flops
from controllable_inference.bench.flops import ModelShape
from controllable_inference.core.budget import BudgetPredictor
from controllable_inference.core.gate import PathGate
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attn_implementation": "eager",
}


def tiny(kind):
    torch.manual_seed(0)
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval()
    if kind == "wide heads":
        return LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=10)).eval()
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def counted(call):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


def one_by_one(model, tokens):
    """Every token alone behind the ones before it, so that nothing is computed that a mask throws away."""
    cache = DynamicCache(config=model.config)
    for token in tokens:
        model(input_ids=torch.tensor([[token]]), past_key_values=cache, use_cache=True)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "wide heads"])
def test_a_path_costs_what_torch_counts(kind):
    model = tiny(kind)
    shape = ModelShape.of(model.config)
    assert flops.stretch(shape, 0, 9) + 9 * shape.head == counted(lambda: one_by_one(model, range(9)))


def test_a_prompt_computed_at_once_costs_the_same_but_for_one_row_of_logits():
    model = tiny("llama")
    shape = ModelShape.of(model.config)
    whole = counted(lambda: model(input_ids=torch.arange(9)[None], logits_to_keep=1))
    masked_away = (9 * 9 - 9 * 10 // 2) * shape.per_position  # torch fills the whole square of scores
    assert flops.stretch(shape, 0, 9) + shape.head == whole - masked_away


def test_paths_share_their_prompt_and_each_pays_for_its_own_tokens_and_its_view_of_the_prompt():
    shape = ModelShape.of(tiny("llama").config)
    alone = flops.request(shape, 5, [7])
    assert alone == flops.stretch(shape, 0, 5) + shape.head + flops.stretch(shape, 5, 7) + 7 * shape.head
    assert flops.request(shape, 5, [7, 7]) - alone == flops.stretch(shape, 5, 7) + 7 * shape.head
    assert flops.request(shape, 5, []) == flops.stretch(shape, 0, 5) + shape.head


def test_a_stretch_may_be_cut_anywhere():
    shape = ModelShape.of(tiny("llama").config)
    assert flops.stretch(shape, 3, 8) == flops.stretch(shape, 3, 5) + flops.stretch(shape, 8, 3)


def test_nearly_all_of_a_tokens_cost_is_twice_the_number_of_weights():
    model = tiny("llama")
    shape = ModelShape.of(model.config)
    matrices = sum(p.numel() for p in model.model.layers.parameters() if p.dim() == 2)
    assert shape.per_token == 2 * matrices
    assert shape.head == 2 * model.lm_head.weight.numel()


def test_gate_and_budget_cost_what_torch_counts():
    gate = PathGate(30)
    assert flops.gate(30, boundaries=4) == counted(lambda: gate(torch.zeros(1, 4, 30)))
    predictor = BudgetPredictor(12, 8)
    assert flops.linear(gate, times=4) == flops.gate(30, boundaries=4)
    head = 2 * 8
    cell = torch.nn.LSTMCell(12, 8)  # torch does not count inside nn.LSTM; its cell does the same by products
    one_token = counted(lambda: cell(torch.zeros(1, 12)))
    assert flops.budget(12, 8, prompt=5) == 5 * one_token + head
    assert predictor.lstm.weight_ih_l0.shape == (4 * 8, 12)
