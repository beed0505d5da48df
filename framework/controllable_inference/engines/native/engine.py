"""The native engine: a transformers model with paged attention, on a CPU or on GPUs.

Small, and the same tokens whatever else is in the batch: the default on CPUs, and what other engines are
compared with.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from controllable_inference.core.controller import Controller
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.engines.adapters.attached import Adapters, Attached
from controllable_inference.engines.engine import Engine
from controllable_inference.engines.generation import sampling_of
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.metrics import Observer
from controllable_inference.engines.native.block_manager import BlockManager
from controllable_inference.engines.native.engine_core import NativeCore
from controllable_inference.engines.native.kv_cache import KVCache, block_bytes
from controllable_inference.engines.native.model_runner import ModelRunner
from controllable_inference.engines.native.scheduler import Scheduler
from controllable_inference.engines.native.tensor_parallel import Ranks
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import AdapterError


class NativeEngine(Engine):
    """model: a transformers causal language model with attention set to ours (`checkpoint.load` does so).

    ranks: where it is this process's share of one; the engine ends them when it is shut down.
    """

    _core: NativeCore

    def __init__(
        self,
        model: Any,
        prompts: PromptRenderer,
        vocabulary: Vocabulary,
        controller: Controller,
        limits: EngineLimits | None = None,
        observer: Observer | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        limits = limits or EngineLimits()
        self.model = model
        self.ranks = ranks
        self.adapters = Adapters()
        context = int(getattr(model.config, "max_position_embeddings", 0) or 2**20)
        blocks = limits.kv_blocks or _default_blocks(model, limits, context, ranks)
        shares = ranks.count if ranks else 1
        cache = KVCache(model.config, blocks, limits.block_size, model.dtype, model.device, shares)
        self._runner = ranks.runner(model, cache) if ranks else ModelRunner(model, cache)
        # one block is spare, for the copy of a prompt's last block that a path writes into
        room = min(context, (blocks - 1) * limits.block_size)
        super().__init__(prompts, vocabulary, controller, limits, sampling_of(model), room, observer)

    def _new_core(self) -> NativeCore:
        limits = self.limits
        blocks = BlockManager(self._runner.cache.data.shape[2], limits.block_size)
        return NativeCore(
            self._runner,
            Scheduler(blocks, limits.max_concurrent_requests, limits.max_rows, limits.max_step_tokens),
            self.vocabulary,
            self.metrics,
            time.monotonic,
            self.room,
            limits.queue_timeout,
            self.adapters,
        )

    def adapter(self, domain: str) -> Attached:
        return self.adapters[domain]

    def add_adapter(self, adapter: DomainAdapter) -> None:
        if self.ranks is not None:
            raise AdapterError("a model with tensor_parallel greater than 1 takes no domain adapters")
        with self.idle():
            self.adapters.add(adapter, self.model, self.prompts)

    def _can_restart(self) -> bool:
        return self.ranks is None or not self.ranks.lost

    def _free(self) -> None:
        if self.ranks is not None:
            self.ranks.close()


def _default_blocks(model: Any, limits: EngineLimits, context: int, ranks: Ranks | None) -> int:
    size = block_bytes(model.config, limits.block_size, model.dtype)
    if model.device.type == "cuda":
        free = ranks.free_memory * ranks.count if ranks else torch.cuda.mem_get_info(model.device)[0]
        memory = int(free * 0.8)
    else:
        memory = min(2 * 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    useful = limits.max_rows * -(-context // limits.block_size)
    blocks = min(memory // size, useful)
    if blocks < 2:
        raise MemoryError(f"{memory} bytes hold no KV cache: one block takes {size}")
    return blocks
