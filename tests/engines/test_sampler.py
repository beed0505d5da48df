import numpy as np
import torch
from controllable_inference.engines.native.sampler import SamplingBatch, sample, uniforms
from controllable_inference.engines.path_key import path_key
from hypothesis import given, settings
from hypothesis import strategies as st


def batch(rows: int, *, temperature=1.0, top_p=1.0, top_k=0, seed=0, counter=0) -> SamplingBatch:
    return SamplingBatch(
        np.full(rows, temperature, np.float32),
        np.full(rows, top_p, np.float32),
        np.full(rows, top_k, np.int64),
        np.array([path_key(seed, row) for row in range(rows)], np.uint64),
        np.full(rows, counter, np.uint64),
    )


def rows_of(params: SamplingBatch, rows: list[int]) -> SamplingBatch:
    return SamplingBatch(*(values[rows] for values in vars(params).values()))


def test_uniform_numbers_are_uniform_and_differ_by_seed_path_and_counter():
    keys = np.array([path_key(seed, path) for seed in range(40) for path in range(50)], np.uint64)
    drawn = np.concatenate([uniforms(keys, np.full(len(keys), n, np.uint64)) for n in range(10)])
    assert len(np.unique(drawn)) == len(drawn)
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 43.8  # 19 degrees of freedom, p = 0.001


def test_tokens_come_as_often_as_the_model_says():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(20000, 4)
    params = batch(20000, temperature=0.8)
    tokens, _ = sample(logits, params)
    seen = torch.bincount(tokens, minlength=4) / 20000
    assert torch.allclose(seen, torch.softmax(logits[0] / 0.8, -1), atol=0.012)


def test_temperature_zero_takes_the_likeliest():
    logits = torch.randn(9, 50)
    tokens, statistics = sample(logits, batch(9, temperature=0))
    assert torch.equal(tokens, logits.argmax(-1))
    assert torch.allclose(statistics.logprob, torch.log_softmax(logits, -1).max(-1).values)


def test_top_k_and_top_p_never_let_others_through():
    logits = torch.randn(500, 30)
    ranked = logits.argsort(-1, descending=True)
    tokens, _ = sample(logits, batch(500, top_k=3))
    assert (ranked[:, :3] == tokens[:, None]).any(-1).all()
    probs = torch.softmax(logits, -1).sort(-1, descending=True).values
    tokens, _ = sample(logits, batch(500, top_p=0.5))
    place = (ranked == tokens[:, None]).float().argmax(-1)
    assert ((probs.cumsum(-1) - probs).gather(-1, place[:, None]) < 0.5).all()


def test_statistics_are_of_the_unfiltered_distribution():
    logits = torch.randn(5, 30)
    tokens, statistics = sample(logits, batch(5, temperature=0.5, top_k=2))
    log_probs = torch.log_softmax(logits, -1)
    assert torch.allclose(statistics.logprob, log_probs.gather(-1, tokens[:, None])[:, 0])
    assert torch.allclose(statistics.entropy, -(log_probs.exp() * log_probs).sum(-1), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 19), min_size=1, unique=True))
def test_a_rows_token_does_not_depend_on_the_other_rows(seed: int, chosen: list[int]):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(20, 60, generator=generator)
    mixed = np.random.default_rng(seed)
    params = batch(20, seed=seed, counter=seed % 7)
    params.temperature = mixed.choice([0.0, 0.7, 1.0], 20).astype(np.float32)
    params.top_p = mixed.choice([1.0, 0.9], 20).astype(np.float32)
    params.top_k = mixed.choice([0, 5], 20)
    together, _ = sample(logits, params)
    apart, _ = sample(logits[chosen], rows_of(params, chosen))
    assert torch.equal(together[chosen], apart)
