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

from controllable_inference.engine.kv_cache import KVCache

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
    lengths (decoding rows,): positions to attend to, the row's own token included.
    """

    cache: KVCache
    slots: Tensor
    tables: Tensor
    lengths: Tensor
    chunks: list[Chunk]

    def __post_init__(self) -> None:
        self._masks: dict[int | None, Tensor] = {}

    def decode_mask(self, window: int | None) -> Tensor:
        """(decoding rows, 1, 1, positions): 0 where a row may look, else -inf; one for all layers."""
        if window not in self._masks:
            at = torch.arange(self.tables.shape[1] * self.cache.block_size, device=self.tables.device)
            seen = at < self.lengths[:, None]
            if window is not None:
                seen &= at >= self.lengths[:, None] - window
            mask = torch.zeros(seen.shape, dtype=self.cache.data.dtype, device=seen.device)
            self._masks[window] = mask.masked_fill_(~seen, float("-inf"))[:, None, None]
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
    query, key, value = (t[0].transpose(0, 1) for t in (query, key, value))  # (tokens, heads, dim)
    layer: int = module.layer_idx  # type: ignore[assignment]
    paged.cache.write(layer, paged.slots, key, value)

    parts = []
    if len(paged.lengths):
        parts.append(_decode(query[: len(paged.lengths)], layer, paged, scaling, sliding_window))
    for chunk in paged.chunks:
        part = slice(chunk.begin, chunk.end)
        parts.append(
            _prefill(query[part], key[part], value[part], layer, paged, chunk, scaling, sliding_window)
        )
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None], None


def _decode(
    query: Tensor, layer: int, paged: PagedBatch, scaling: float | None, window: int | None
) -> Tensor:
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
        scale=scaling,
    )
    return out.reshape(rows, heads, dim)


def _prefill(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layer: int,
    paged: PagedBatch,
    chunk: Chunk,
    scaling: float | None,
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
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return out[0].transpose(0, 1)


AttentionInterface.register(NAME, paged_attention)
