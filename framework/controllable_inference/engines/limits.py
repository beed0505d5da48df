"""Limits of one engine."""

from __future__ import annotations

from dataclasses import dataclass

from controllable_inference.errors import EngineConfigError


@dataclass(frozen=True)
class EngineLimits:
    """Limits of one engine.

    max_rows: most paths computed in one step. max_step_tokens: most tokens of one step, prompts included.
    block_size: tokens in one block of the KV cache. kv_blocks: how many blocks there are, None for as many as
    a quarter of the memory holds (CPU, 2 GiB at most) or 80 % of what is free (CUDA), and no more than
    max_rows full contexts take.

    Raises EngineConfigError with the field's name when a value is out of range.
    """

    max_concurrent_requests: int = 64
    queue_size: int = 256
    queue_timeout: float = 30.0
    max_rows: int = 256
    max_step_tokens: int = 2048
    block_size: int = 16
    kv_blocks: int | None = None

    def __post_init__(self) -> None:
        least = {
            "max_concurrent_requests": 1,
            "queue_size": 0,
            "max_rows": 1,
            "max_step_tokens": self.max_rows,  # every row must fit into one step
            "block_size": 1,
            "kv_blocks": 2,  # one is spare
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if name == "kv_blocks" and value is None:
                continue
            if not isinstance(value, int) or value < bound:
                whose = " (max_rows)" if name == "max_step_tokens" else ""
                raise EngineConfigError(
                    f"{name} must be a whole number of at least {bound}{whose}, got {value!r}"
                )
        if not isinstance(self.queue_timeout, int | float) or not self.queue_timeout >= 0:
            raise EngineConfigError(f"queue_timeout must be a number of seconds, got {self.queue_timeout!r}")
