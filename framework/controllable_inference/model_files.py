"""Which files are a model's, wherever they come from. Pickled weights are not: reading them runs code."""

from fnmatch import fnmatch

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt")
"""Patterns of what a download takes: weights, configuration, chat template, tokenizers of every kind."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""How the names of pickled weights end."""


def is_wanted(name: str) -> bool:
    """Whether a file of this name (a path with /) is one that a model is made of."""
    return any(fnmatch(name, pattern) for pattern in WANTED)
