"""The paged KV cache: one tensor, cut into blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig


def block_bytes(config: PretrainedConfig, block_size: int, dtype: torch.dtype) -> int:
    """Of all key/value heads; each of several ranks holds its share of them."""
    heads, dim = kv_shape(config)
    return config.num_hidden_layers * 2 * block_size * heads * dim * dtype.itemsize


def kv_shape(config: PretrainedConfig) -> tuple[int, int]:
    """(key/value heads, head dimension) of a decoder's configuration."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return heads, getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


class KVCache:
    """data (layers, 2, blocks, block_size, key/value heads, head dimension); 2 is keys and values.

    ranks: how many share the heads among them.
    """

    def __init__(
        self,
        config: PretrainedConfig,
        blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
        ranks: int = 1,
    ) -> None:
        heads, dim = kv_shape(config)
        heads //= ranks
        self.block_size = block_size
        self.data = _zeros((config.num_hidden_layers, 2, blocks, block_size, heads, dim), dtype, device)
        self._layers = [(layer[0], layer[1]) for layer in self.data]
        self._slots = [(k.view(-1, heads, dim), v.view(-1, heads, dim)) for k, v in self._layers]

    def write(self, layer: int, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """slots (tokens,) = block * block_size + offset; key, value (tokens, kv heads, dim)."""
        keys, values = self._slots[layer]
        keys.index_copy_(0, slots, key)
        values.index_copy_(0, slots, value)

    def gather(self, layer: int, tables: Tensor) -> tuple[Tensor, Tensor]:
        """tables (rows, blocks) -> keys and values, each (rows, positions, kv heads, dim)."""
        keys, values = self._layers[layer]
        rows, flat = tables.shape[0], tables.reshape(-1)
        shape = (rows, -1, *keys.shape[2:])
        return keys.index_select(0, flat).view(shape), values.index_select(0, flat).view(shape)

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole blocks, (source, destination) each."""
        if pairs:
            source, destination = (
                torch.tensor(side, device=self.data.device) for side in zip(*pairs, strict=True)
            )
            self.data.index_copy_(2, destination, self.data.index_select(2, source))

    def clear(self, blocks: Sequence[int]) -> None:
        self.data.index_fill_(2, torch.tensor(blocks, device=self.data.device), 0)


def _zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, as masked positions are read. On a CPU by calloc: a block takes memory when it is written to."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    untouched = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(untouched).view(dtype).view(shape)
