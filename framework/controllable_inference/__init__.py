"""Serve reasoning models and keep their thinking under control: path pruning, compute budgets, voting."""

from typing import TYPE_CHECKING, Any

from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.request import PathResult, RequestBudget, Result, SamplingParams, Usage

if TYPE_CHECKING:
    from controllable_inference.model import ControllableInference

__version__ = "0.1.0"

__all__ = [
    "ControllableInference",
    "DomainAdapter",
    "PathResult",
    "RequestBudget",
    "Result",
    "SamplingParams",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import torch and transformers (seconds) only for those who load a model."""
    if name == "ControllableInference":
        from controllable_inference.model import ControllableInference

        return ControllableInference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
