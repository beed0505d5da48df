"""Attention over a prompt that many paths share: its keys and values are read once, not once a path.

Each path attends to the whole blocks of its prompt and to its own tail apart, and the two results are merged
by their log-sum-exp (cascade inference, Ye et al. 2024; merging as in FlashAttention, Dao et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

WORTH = 250_000
"""Key elements a layer that sharing must save: on two CPU cores, merging costs as much as reading these."""

TAIL_ROWS = 32
"""Rows whose tails are read at a time. Neighbours are of like age and so of like length: less padding, and
what was gathered is still in the processor's cache when it is attended to."""


@dataclass
class Tail:
    """tables (rows, blocks), mask (rows, 1, 1, positions)."""

    tables: Tensor
    mask: Tensor


@dataclass
class SharedPrefixes:
    """Where decoding rows of one step share their prompts.

    tables (requests, blocks), mask (requests, 1, 1, positions): whole blocks of each prompt; mask 0 or -inf.
    rows (requests, paths): its decoding rows, padded by repeating one. place (rows,): where each row is in
    `rows`, flat. has (rows,): whether a row's prompt fills a block at all.
    tails: what is a row's own, for TAIL_ROWS rows after another.
    """

    tables: Tensor
    mask: Tensor
    rows: Tensor
    place: Tensor
    has: Tensor
    tails: list[Tail]


def mask_of(lengths: Tensor, positions: int, dtype: torch.dtype) -> Tensor:
    """lengths (n,) -> (n, 1, 1, positions): 0 before each length, -inf from there on."""
    seen = torch.arange(positions, device=lengths.device) < lengths[:, None]
    mask = torch.zeros(seen.shape, dtype=dtype, device=lengths.device)
    return mask.masked_fill_(~seen, float("-inf"))[:, None, None]


def find_shared(
    tables: np.ndarray, lengths: np.ndarray, sizes: list[int], whole: list[int], block: int, like: Tensor
) -> SharedPrefixes | None:
    """None unless rows share enough.

    tables (rows, blocks), lengths (rows,): of decoding rows, those of a request side by side. sizes: rows of
    each request. whole: whole blocks of its prompt. block: positions a block. like: the cache's data.
    """
    saved = sum(blocks * (size - 1) for size, blocks in zip(sizes, whole, strict=True))
    if saved == 0 or saved * like[0, 0, 0].numel() < WORTH:
        return None
    paths, own, starts = max(sizes), np.repeat(whole, sizes), np.cumsum([0, *sizes[:-1]])
    rows = starts[:, None] + np.minimum(np.arange(paths), np.array(sizes)[:, None] - 1)
    place = np.concatenate([np.arange(size) + at * paths for at, size in enumerate(sizes)])

    def move(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)

    def tail(rows: slice) -> Tail:
        seen = lengths[rows] - own[rows] * block
        # behind a row's last block any valid one will do, for the mask hides it
        at = own[rows, None] + np.arange(-(-int(seen.max()) // block))
        tail_tables = np.take_along_axis(tables[rows], np.minimum(at, tables.shape[1] - 1), axis=1)
        return Tail(move(tail_tables), mask_of(move(seen), tail_tables.shape[1] * block, like.dtype))

    prefix = move(tables[starts, : max(whole)])
    # a request without a whole block looks at one position all the same, and is left out when merging
    seen = move(np.maximum(np.array(whole) * block, 1))
    return SharedPrefixes(
        prefix,
        mask_of(seen, prefix.shape[1] * block, like.dtype),
        move(rows),
        move(place),
        move(own > 0),
        [tail(slice(start, start + TAIL_ROWS)) for start in range(0, len(tables), TAIL_ROWS)],
    )


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attention that also tells its log-sum-exp.

    query (n, heads, queries, dim), keys and values (n, heads, positions, dim), mask broadcast to
    (n, heads, queries, positions) -> (n, heads, queries, dim), (n, heads, queries)
    """
    if query.device.type == "cpu":  # what scaled_dot_product_attention runs, and keeps the sum of to itself
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, keys, values, attn_mask=mask, scale=scale
        )
    scores = (query @ keys.transpose(2, 3)).float() * scale + mask
    total = scores.logsumexp(-1)
    return (scores - total[..., None]).exp().to(values.dtype) @ values, total


def merge(prefix: Tensor, prefix_sum: Tensor, tail: Tensor, tail_sum: Tensor) -> Tensor:
    """One softmax over both parts: results (..., dim), their log-sum-exps (...)."""
    weight = torch.sigmoid(prefix_sum - tail_sum)[..., None].to(tail.dtype)
    return torch.lerp(tail, prefix, weight)
