"""From a scheduled step to the tensors of one forward pass and one sampling pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from controllable_inference.core.request import SamplingParams
from controllable_inference.engines.native.attention import Chunk, PagedBatch
from controllable_inference.engines.native.kv_cache import KVCache
from controllable_inference.engines.native.sampler import SamplingBatch
from controllable_inference.engines.native.scheduler import Schedule
from controllable_inference.engines.native.shared_prefix import find_shared
from controllable_inference.engines.path import Path


class FlatBatch(NamedTuple):
    """tokens, positions (tokens,): decoding rows first, then chunks.

    last: the tokens whose logits are wanted (every
    decoding row's and every chunk's last), None where that is all of them."""

    tokens: Tensor
    positions: Tensor
    paged: PagedBatch
    last: Tensor | None


@dataclass(frozen=True)
class StepInputs:
    """What one step computes, in numbers that any process understands who has the model and a cache.

    copies: blocks to copy before, (source, destination). tokens: of decoding rows, then of chunks.
    computed (decoding rows,): positions of each that the cache holds; tables (decoding rows, blocks).
    requests: (decoding rows, whole blocks of the prompt) of each request, which lie side by side.
    chunks: (start, end, table) of each.
    """

    copies: list[tuple[int, int]]
    tokens: list[int]
    computed: np.ndarray
    tables: np.ndarray
    requests: list[tuple[int, int]]
    chunks: list[tuple[int, int, np.ndarray]]


def inputs_of(step: Schedule, block_size: int) -> StepInputs:
    groups = [(group, len(list(paths))) for group, paths in itertools.groupby(step.decode, lambda p: p.group)]
    return StepInputs(
        [pair for _, _, pair in step.copies],
        [*(p.tokens[-1] for p in step.decode), *(token for chunk in step.chunks for token in chunk.tokens)],
        np.array([p.computed for p in step.decode], dtype=np.int64),
        _padded([p.table for p in step.decode]),
        [(rows, len(group.prompt) // block_size) for group, rows in groups],
        [(chunk.start, chunk.end, np.array(chunk.table, dtype=np.int64)) for chunk in step.chunks],
    )


def flatten(inputs: StepInputs, cache: KVCache) -> FlatBatch:
    size, device = cache.block_size, cache.data.device
    at, tables = inputs.computed, inputs.tables
    decoding = len(at)
    positions = [at]
    slots = [tables[np.arange(decoding), at // size] * size + at % size] if decoding else []
    chunks: list[Chunk] = []
    begin = decoding
    for start, end, table in inputs.chunks:
        at_chunk = np.arange(start, end)
        positions.append(at_chunk)
        slots.append(table[at_chunk // size] * size + at_chunk % size)
        chunks.append(Chunk(begin, begin + end - start, start, torch.from_numpy(table)[None].to(device)))
        begin += end - start
    last = None
    if chunks:
        last = torch.tensor([*range(decoding), *(c.end - 1 for c in chunks)], device=device)
    rows, whole = [n for n, _ in inputs.requests], [blocks for _, blocks in inputs.requests]
    return FlatBatch(
        torch.tensor(inputs.tokens, device=device),
        torch.from_numpy(np.concatenate(positions)).to(device),
        PagedBatch(
            cache,
            torch.from_numpy(np.concatenate(slots)).to(device),
            torch.from_numpy(tables).to(device),
            torch.from_numpy(at + 1).to(device),
            find_shared(tables, at + 1, rows, whole, size, cache.data),
            chunks,
        ),
        last,
    )


def _padded(tables: Sequence[list[int]]) -> np.ndarray:
    """(rows, longest table). The attention mask hides the padding, which is a row's own last block: were it
    another's, that one's numbers would come in where they are none.
    """
    longest = max(map(len, tables), default=0)
    return np.array([t + t[-1:] * (longest - len(t)) for t in tables], dtype=np.int64).reshape(
        len(tables), longest
    )


GREEDY = SamplingParams(temperature=0.0)
"""How trials are drawn: what a path would answer, not what it might."""


def sampling_batch(paths: Sequence[Path]) -> SamplingBatch:
    """One row a path. Its counter is the number of tokens it has."""
    params = [p.group.sampling if p.trial_of is None else GREEDY for p in paths]
    return SamplingBatch(
        # Whoever asks for less than the numbers below can't tell the difference, and float32 and int64 can.
        np.array([s.temperature and max(s.temperature, 1e-3) for s in params], dtype=np.float32),
        np.array([max(s.top_p or 1.0, 1e-6) for s in params], dtype=np.float32),
        np.array([min(s.top_k or 0, 2**31) for s in params], dtype=np.int64),
        np.array([p.key for p in paths], dtype=np.uint64),
        np.array([len(p.tokens) for p in paths], dtype=np.uint64),
    )
