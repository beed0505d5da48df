"""From a scheduled step to the tensors of one forward pass and one sampling pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from controllable_inference.engine.attention import Chunk, PagedBatch
from controllable_inference.engine.kv_cache import KVCache
from controllable_inference.engine.path import Path
from controllable_inference.engine.sampler import SamplingBatch
from controllable_inference.engine.scheduler import Step
from controllable_inference.engine.shared_prefix import SharedPrefixes, find_shared


class FlatBatch(NamedTuple):
    """tokens, positions (tokens,): decoding rows first, then chunks.

    last: the tokens whose logits are wanted (every
    decoding row's and every chunk's last), None where that is all of them."""

    tokens: Tensor
    positions: Tensor
    paged: PagedBatch
    last: Tensor | None


def flatten(step: Step, cache: KVCache) -> FlatBatch:
    size, device = cache.block_size, cache.data.device
    tokens = [p.tokens[-1] for p in step.decode]
    decoding = len(tokens)
    at = np.array([p.computed for p in step.decode], dtype=np.int64)
    tables = _padded([p.table for p in step.decode])
    positions = [at]
    shared = _shared(step.decode, tables, at + 1, cache)
    slots = [tables[np.arange(decoding), at // size] * size + at % size] if decoding else []
    chunks = []
    for chunk in step.chunks:
        begin = len(tokens)
        tokens += chunk.tokens
        at_chunk = np.arange(chunk.start, chunk.end)
        table = np.array(chunk.table, dtype=np.int64)
        positions.append(at_chunk)
        slots.append(table[at_chunk // size] * size + at_chunk % size)
        chunks.append(Chunk(begin, len(tokens), chunk.start, torch.from_numpy(table)[None].to(device)))
    last = None
    if chunks:
        last = torch.tensor([*range(decoding), *(c.end - 1 for c in chunks)], device=device)
    return FlatBatch(
        torch.tensor(tokens, device=device),
        torch.from_numpy(np.concatenate(positions)).to(device),
        PagedBatch(
            cache,
            torch.from_numpy(np.concatenate(slots)).to(device),
            torch.from_numpy(tables).to(device),
            torch.from_numpy(at + 1).to(device),
            shared,
            chunks,
        ),
        last,
    )


def _shared(
    paths: list[Path], tables: np.ndarray, lengths: np.ndarray, cache: KVCache
) -> SharedPrefixes | None:
    """Paths of a request lie side by side, and have the whole blocks of their prompt in common."""
    requests = [(group, len(list(of))) for group, of in itertools.groupby(paths, key=lambda p: p.group)]
    sizes = [size for _, size in requests]
    whole = [len(group.prompt) // cache.block_size for group, _ in requests]
    return find_shared(tables, lengths, sizes, whole, cache.block_size, cache.data)


def _padded(tables: Sequence[list[int]]) -> np.ndarray:
    """(rows, longest table). The attention mask hides the padding, which is a row's own last block: were it
    another's, that one's numbers would come in where they are none.
    """
    longest = max(map(len, tables), default=0)
    return np.array([t + t[-1:] * (longest - len(t)) for t in tables], dtype=np.int64).reshape(
        len(tables), longest
    )


def sampling_batch(paths: Sequence[Path]) -> SamplingBatch:
    """One row a path. Its counter is the number of tokens it has."""
    params = [p.group.sampling for p in paths]
    return SamplingBatch(
        # Whoever asks for less than the numbers below can't tell the difference, and float32 and int64 can.
        np.array([s.temperature and max(s.temperature, 1e-3) for s in params], dtype=np.float32),
        np.array([max(s.top_p, 1e-6) for s in params], dtype=np.float32),
        np.array([min(s.top_k, 2**31) for s in params], dtype=np.int64),
        np.array([p.key for p in paths], dtype=np.uint64),
        np.array([len(p.tokens) for p in paths], dtype=np.uint64),
    )
