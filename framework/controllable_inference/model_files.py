"""Which files are a model's, wherever they come from. Pickled weights are not: reading them runs code."""

from fnmatch import fnmatch
from pathlib import Path

from controllable_inference.errors import ModelLoadError

WANTED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt")
"""Patterns of what a download takes: weights, configuration, chat template, tokenizers of every kind."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""How the names of pickled weights end."""


def is_wanted(name: str) -> bool:
    """Whether a file of this name (a path with /) is one that a model is made of."""
    return any(fnmatch(name, pattern) for pattern in WANTED)


def check_weights(folder: Path) -> None:
    """Raises ModelLoadError for a folder without a configuration, or without weights that are no pickles."""
    if not (folder / "config.json").is_file():
        raise ModelLoadError(f"{folder} has no config.json; it is not a Hugging Face checkpoint")
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.iterdir() if path.name.endswith(PICKLED))
    if pickled:
        raise ModelLoadError(
            f"{folder} holds pickled weights only ({pickled[0]}), and loading a pickle runs the code in it; "
            "convert them to safetensors"
        )
    raise ModelLoadError(f"{folder} holds no safetensors weights")
