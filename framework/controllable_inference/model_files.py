"""Which files are a model's, wherever they come from. Pickled weights are not: reading them runs code."""

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt")
"""Patterns of what a download takes: weights, configuration, chat template, tokenizers of every kind."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""How the names of pickled weights end."""
