"""What a domain brings to a model."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from controllable_inference.errors import AdapterError

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class DomainAdapter:
    """Tokens, budget and weights for one domain. They hold for requests that name it, and for no other.

    domain: the name that requests give. special_tokens: each becomes one token; writing one ends a step, so
    that the gate looks where a section begins. budget_scale: greater than 0; multiplies the coefficient of a
    request, which stays in [0, 2]. peft_path: folder with LoRA weights, as peft saves them in safetensors.

    Raises AdapterError when a value does not fit.
    """

    domain: str
    special_tokens: Sequence[str] = ()
    budget_scale: float = 1.0
    peft_path: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.domain, str) or not _NAME.fullmatch(self.domain):
            raise AdapterError(f"domain must be a name of letters, digits, - and _, got {self.domain!r}")
        if isinstance(self.special_tokens, str):
            raise AdapterError(f"special_tokens must be a list of strings, got {self.special_tokens!r}")
        tokens = tuple(self.special_tokens)
        if not all(isinstance(token, str) and token.strip() for token in tokens):
            raise AdapterError(f"special_tokens must be strings with something in them, got {list(tokens)!r}")
        if len(set(tokens)) < len(tokens):
            raise AdapterError(f"special_tokens must differ from each other, got {list(tokens)!r}")
        scale = self.budget_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise AdapterError(f"budget_scale must be a number greater than 0, got {scale!r}")
        object.__setattr__(self, "special_tokens", tokens)
