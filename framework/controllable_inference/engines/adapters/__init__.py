"""Domain adapters: special tokens, a budget of their own, LoRA weights; for requests that name them."""

from controllable_inference.core.domain import DomainAdapter

__all__ = ["DomainAdapter"]
