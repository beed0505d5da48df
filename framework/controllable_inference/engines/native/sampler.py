"""From logits to the next token of each row, with the statistics control lives on, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from controllable_inference.core.features import TokenStatistics, token_statistics
from controllable_inference.engines.path_key import GAMMA, mix


def uniforms(keys: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """The `counter`-th number of each key's stream, in [0, 1): counter-based, so no state and no batch order.

    keys, counters (rows,) uint64 -> (rows,) float64
    """
    with np.errstate(over="ignore"):
        bits = mix(keys + (counters + np.uint64(1)) * GAMMA)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass
class SamplingBatch:
    """One entry a row: temperature, top_p (float32), top_k (int64), keys and counters (uint64)."""

    temperature: np.ndarray
    top_p: np.ndarray
    top_k: np.ndarray
    keys: np.ndarray
    counters: np.ndarray


def sample(logits: Tensor, batch: SamplingBatch) -> tuple[Tensor, TokenStatistics]:
    """logits (rows, vocabulary) -> tokens (rows,), and statistics of each under the unfiltered temperature 1.

    Tokens are drawn by inverse transform: the first whose cumulative probability exceeds the row's uniform
    number. A row's token depends on its own logits, parameters, key and counter only.
    """
    device = logits.device
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    greedy = batch.temperature == 0
    if greedy.all():
        tokens = log_probs.argmax(-1)
        return tokens, token_statistics(log_probs, tokens)

    probs = log_probs
    if (batch.temperature != 1).any():
        heat = torch.from_numpy(np.where(greedy, 1, batch.temperature).astype(np.float32)).to(device)
        probs = torch.log_softmax(log_probs / heat[:, None], dim=-1)
    probs = probs.exp()
    if (batch.top_k > 0).any() or (batch.top_p < 1).any():
        probs = probs * _allowed(probs, batch)
    # float64: a float32 running sum over a large vocabulary is off by more than a rare token's probability
    cumulative = probs.cumsum(-1, dtype=torch.float64)
    drawn = torch.from_numpy(uniforms(batch.keys, batch.counters)).to(device)
    target = (drawn * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    if greedy.any():
        tokens = torch.where(torch.from_numpy(greedy).to(device), log_probs.argmax(-1), tokens)
    return tokens, token_statistics(log_probs, tokens)


def _allowed(probs: Tensor, batch: SamplingBatch) -> Tensor:
    """(rows, vocabulary) bool: tokens within top-k and within the smallest set holding top-p of the mass."""
    top_k = torch.from_numpy(np.where(batch.top_k > 0, batch.top_k, probs.shape[-1])).to(probs.device)
    # 2 stands for "all": rounding must not cut the tail of a row that asked for no filter
    top_p = torch.from_numpy(np.where(batch.top_p < 1, batch.top_p, 2).astype(np.float32)).to(probs.device)
    ordered, index = probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    rank = torch.arange(probs.shape[-1], device=probs.device)
    keep = (rank < top_k[:, None]) & (before < top_p[:, None])
    return torch.zeros_like(keep).scatter_(-1, index, keep)
