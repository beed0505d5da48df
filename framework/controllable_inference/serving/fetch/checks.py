"""What a model's folder must have, and what it must not."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from controllable_inference.errors import ModelNotFound
from controllable_inference.model_files import PICKLED, is_wanted


def check_names(names: Iterable[str], where: str) -> None:
    """A model is config.json, a tokenizer and safetensors; ModelNotFound says which of them is missing."""
    names = list(names)
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(name for name in names if name.endswith(PICKLED))
        if pickled:
            raise ModelNotFound(
                f"{where}: only pickled weights ({pickled[0]}), refused because loading them runs code "
                "from the file; ask for a revision with safetensors or convert the checkpoint"
            )
        raise ModelNotFound(f"{where}: holds no *.safetensors")
    if "config.json" not in names:
        raise ModelNotFound(f"{where}: holds no config.json, so this is not a transformers checkpoint")
    if not any(name.startswith("tokenizer") or name == "vocab.json" for name in names):
        raise ModelNotFound(f"{where}: holds no tokenizer")


def check_model_folder(folder: Path, uri: str) -> None:
    """The same for a folder, which `uri` names in the message."""
    if not folder.is_dir():
        raise ModelNotFound(f"{uri}: there is no folder {folder}")
    check_names([path.name for path in folder.iterdir()], uri)


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a model by name (paths with /, relative to its folder); hidden ones are none."""
    found = {}
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            path = Path(parent, file)
            name = path.relative_to(folder).as_posix()
            if not file.startswith(".") and is_wanted(name):
                found[name] = path
    return found


def check_links(folder: Path, root: Path, uri: str) -> None:
    """No file may lead out of what the source brought: it would show the model what is not of the model."""
    root = root.resolve()
    for name, path in model_files(folder).items():
        if not path.resolve().is_relative_to(root):
            raise ModelNotFound(
                f"{uri}: {name} is a link that leads out of it, to {path.resolve()}; put the file there"
            )


def safe_name(name: str, uri: str) -> str:
    """`name` as a path inside a model's folder; ModelNotFound where it would lead out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise ModelNotFound(f"{uri}: a file is called {name!r}, which would lead out of the model's folder")
    return path.as_posix()
