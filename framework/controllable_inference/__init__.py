"""Serve reasoning models and keep their thinking under control: path pruning, compute budgets, voting."""

from controllable_inference.engine.request import PathResult, RequestBudget, Result, SamplingParams, Usage

__version__ = "0.1.0"

__all__ = ["PathResult", "RequestBudget", "Result", "SamplingParams", "Usage", "__version__"]
