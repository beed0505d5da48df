import numpy as np
import pytest
import torch
from controllable_inference.engines.native import shared_prefix
from controllable_inference.engines.native.attention import PagedBatch, _decode, _decode_shared
from controllable_inference.engines.native.kv_cache import KVCache
from controllable_inference.engines.native.shared_prefix import attend, find_shared, mask_of
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig

BLOCK, HEADS, KV_HEADS, DIM = 4, 6, 2, 8


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(1, 5)), min_size=1, max_size=4), st.data())
def test_sharing_a_prompt_gives_what_each_path_gets_alone(requests, data):
    """requests: prompt length and number of paths of each."""
    config = LlamaConfig(hidden_size=48, num_attention_heads=6, num_key_value_heads=2, num_hidden_layers=1)
    cache = KVCache(config, 300, BLOCK, torch.float32, torch.device("cpu"))
    cache.data.normal_()
    free, tables, lengths = iter(range(300)), [], []
    for prompt, paths in requests:
        common = [next(free) for _ in range(prompt // BLOCK)]
        for _ in range(paths):
            length = prompt + data.draw(st.integers(1, 9))
            own = [next(free) for _ in range(-(-length // BLOCK) - len(common))]
            tables.append(common + own)
            lengths.append(length)
    longest = max(map(len, tables))
    padded = np.array([t + [0] * (longest - len(t)) for t in tables])
    sizes, whole = [n for _, n in requests], [p // BLOCK for p, _ in requests]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_prefix, "WORTH", 0)
        shared = find_shared(padded, np.array(lengths), sizes, whole, BLOCK, cache.data)
    if shared is None:
        assert not any(blocks and paths > 1 for blocks, paths in zip(whole, sizes, strict=True))
        return
    paged = PagedBatch(cache, torch.empty(0), torch.from_numpy(padded), torch.tensor(lengths), None, [])
    query = torch.randn(len(tables), HEADS, DIM)
    alone = _decode(query, 0, paged, DIM**-0.5, None)
    assert torch.allclose(_decode_shared(query, 0, cache, shared, DIM**-0.5), alone, atol=1e-5)


def test_attention_tells_its_log_sum_exp():
    query, keys, values = torch.randn(3, 2, 4, 8), torch.randn(3, 2, 9, 8), torch.randn(3, 2, 9, 8)
    mask = mask_of(torch.tensor([9, 1, 5]), 9, torch.float32)
    scores = query @ keys.transpose(2, 3) * 0.3 + mask
    out, total = attend(query, keys, values, mask, 0.3)
    assert torch.allclose(total, scores.logsumexp(-1), atol=1e-5)
    assert torch.allclose(out, scores.softmax(-1) @ values, atol=1e-5)


def test_what_saves_too_little_is_not_shared():
    like = torch.zeros(1, 2, 8, BLOCK, KV_HEADS, DIM)
    tables, lengths = np.zeros((4, 3), dtype=np.int64), np.full(4, 9)
    assert find_shared(tables, lengths, [4], [2], BLOCK, like) is None
