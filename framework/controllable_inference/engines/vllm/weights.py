"""A checkpoint's folder as vLLM may read it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from controllable_inference.core.config import ControlConfig

MADE: list[tempfile.TemporaryDirectory[str]] = []
"""Folders of links, which live as long as this process."""


def without_control(folder: Path, control: ControlConfig | None) -> Path:
    """The folder; or, where weights of control lie in it, one with links to everything else.

    vLLM takes every safetensors file of a folder for the model's.
    """
    parts = (control.gate, control.budget, control.policy) if control else ()
    own = {part.weights for part in parts if part is not None}
    if not own:
        return folder
    links = tempfile.TemporaryDirectory(prefix="controllable-vllm-")
    MADE.append(links)
    for file in folder.iterdir():
        if file.name not in own:
            (Path(links.name) / file.name).symlink_to(file.resolve())
    return Path(links.name)
