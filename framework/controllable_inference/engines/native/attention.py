"""Our attention, as transformers' models call it: it knows which token belongs to which row.

A step's tokens lie in one flat sequence (1, tokens): first one token for each decoding row, then the chunks
of rows that still compute a prompt. Keys and values are written into the paged cache, and read from it
through block tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from controllable_inference.engines.native.kv_cache import KVCache
from controllable_inference.engines.native.shared_prefix import (
    TAIL_ROWS,
    SharedPrefixes,
    attend,
    mask_of,
    merge,
)

NAME = "controllable_paged"

UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Arguments by which some architectures change attention itself; ignoring them would be wrong in silence."""


@dataclass
class Chunk:
    """Tokens [begin, end) of the flat batch are positions [start, start + end - begin) of one row.

    table (1, blocks): its blocks.
    """

    begin: int
    end: int
    start: int
    table: Tensor


@dataclass
class PagedBatch:
    """Where the tokens of one flat batch live.

    slots (tokens,): cache slot of each token. tables (decoding rows, blocks), padded with any valid block;
    lengths (decoding rows,): positions to attend to, the row's own token included. shared: the same, for rows
    that have their prompt in common.
    """

    cache: KVCache
    slots: Tensor
    tables: Tensor
    lengths: Tensor
    shared: SharedPrefixes | None
    chunks: list[Chunk]

    def __post_init__(self) -> None:
        self._masks: dict[int | None, Tensor] = {}

    def decode_mask(self, window: int | None) -> Tensor:
        """(decoding rows, 1, 1, positions): 0 where a row may look, else -inf; one for all layers."""
        if window not in self._masks:
            positions = self.tables.shape[1] * self.cache.block_size
            mask = mask_of(self.lengths, positions, self.cache.data.dtype)
            if window is not None:
                at = torch.arange(positions, device=mask.device)
                gone = at < self.lengths[:, None] - window
                mask = mask.masked_fill(gone[:, None, None], float("-inf"))
            self._masks[window] = mask
        return self._masks[window]


def paged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    paged: PagedBatch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query (1, heads, tokens, dim), key and value (1, kv heads, tokens, dim) -> (1, tokens, heads, dim)."""
    assert paged is not None, "this model does not hand its keyword arguments on to attention"
    if foreign := [name for name in UNSUPPORTED if kwargs.get(name) is not None]:
        raise NotImplementedError(f"attention with {', '.join(foreign)} is not supported")
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))  # (tokens, heads, dim)
    layer: int = module.layer_idx  # type: ignore[assignment]
    paged.cache.write(layer, paged.slots, key, value)

    parts = []
    if len(paged.lengths):
        rows = query[: len(paged.lengths)]
        if paged.shared is not None and sliding_window is None:
            parts.append(_decode_shared(rows, layer, paged.cache, paged.shared, scale))
        else:
            parts.append(_decode(rows, layer, paged, scale, sliding_window))
    for chunk in paged.chunks:
        part = slice(chunk.begin, chunk.end)
        parts.append(
            _prefill(query[part], key[part], value[part], layer, paged, chunk, scale, sliding_window)
        )
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


def _decode(query: Tensor, layer: int, paged: PagedBatch, scale: float, window: int | None) -> Tensor:
    """One query token a row: query (rows, heads, dim) -> (rows, heads, dim)."""
    keys, values = paged.cache.gather(layer, paged.tables)  # (rows, positions, kv heads, dim)
    rows, heads, dim = query.shape
    # query heads that share a key/value head become its query length: no key is repeated
    grouped = query.reshape(rows, keys.shape[2], heads // keys.shape[2], dim)
    out = functional.scaled_dot_product_attention(
        grouped,
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=paged.decode_mask(window),
        scale=scale,
    )
    return out.reshape(rows, heads, dim)


def _decode_shared(query: Tensor, layer: int, cache: KVCache, shared: SharedPrefixes, scale: float) -> Tensor:
    """The same as `_decode`, with each prompt's whole blocks read once for all its paths."""
    keys, values = cache.gather(layer, shared.tables)
    rows, heads, dim = query.shape
    grouped = query.reshape(rows, keys.shape[2], heads // keys.shape[2], dim)
    # (requests, paths, kv heads, group, dim): all paths of a request become the query length of its prompt
    together = grouped[shared.rows].transpose(1, 2)
    split = together.shape
    prefix, prefix_sum = attend(
        together.reshape(*split[:2], -1, dim),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        shared.mask,
        scale,
    )
    prefix = prefix.reshape(split).transpose(1, 2).flatten(0, 1)[shared.place]
    prefix_sum = prefix_sum.reshape(split[:-1]).transpose(1, 2).flatten(0, 1)[shared.place]
    prefix_sum = prefix_sum.masked_fill(~shared.has[:, None, None], float("-inf"))

    tails, sums = [], []
    for rows_of, tail in zip(grouped.split(TAIL_ROWS), shared.tails, strict=True):
        keys, values = cache.gather(layer, tail.tables)
        out, out_sum = attend(rows_of, keys.transpose(1, 2), values.transpose(1, 2), tail.mask, scale)
        tails.append(out)
        sums.append(out_sum)
    return merge(prefix, prefix_sum, torch.cat(tails), torch.cat(sums)).reshape(rows, heads, dim)


def _prefill(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layer: int,
    paged: PagedBatch,
    chunk: Chunk,
    scale: float,
    window: int | None,
) -> Tensor:
    """A chunk of one row: query (tokens, heads, dim) -> (tokens, heads, dim)."""
    tokens, total = len(query), chunk.start + len(query)
    if chunk.start:
        keys, values = (t[0, :total] for t in paged.cache.gather(layer, chunk.table))
    else:
        keys, values = key, value
    mask = None
    if chunk.start or window is not None:
        queries = torch.arange(chunk.start, total, device=query.device)[:, None]
        at = torch.arange(total, device=query.device)
        mask = at <= queries
        if window is not None:
            mask &= at > queries - window
    out = functional.scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=mask is None and tokens > 1,
        scale=scale,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return out[0].transpose(0, 1)


AttentionInterface.register(NAME, paged_attention)
