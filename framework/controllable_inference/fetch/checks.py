"""What a model's folder must have, or an adapter's, and what it must not."""

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from controllable_inference.errors import ModelNotFound
from controllable_inference.model_files import PICKLED, is_wanted


@dataclass(frozen=True)
class Kind:
    """What files make a folder.

    config: the one that tells what the others are. weights: pattern of their names. needs_tokenizer: whether
    they are of no use without one. name: what a folder without `config` is not.
    """

    config: str
    weights: str
    needs_tokenizer: bool
    name: str


MODEL = Kind("config.json", "*.safetensors", True, "a transformers checkpoint")
ADAPTER = Kind("adapter_config.json", "adapter_model.safetensors", False, "a LoRA adapter as peft saves it")


def check_names(names: Iterable[str], where: str, kind: Kind = MODEL) -> None:
    """Refuse what isn't all of a model, or of an adapter; ModelNotFound says what is missing."""
    names = list(names)
    if not fnmatch.filter(names, kind.weights):
        pickled = sorted(name for name in names if name.endswith(PICKLED))
        if pickled:
            raise ModelNotFound(
                f"{where}: only pickled weights ({pickled[0]}), refused because loading them runs code "
                "from the file; ask for a revision with safetensors or convert the checkpoint"
            )
        raise ModelNotFound(f"{where}: holds no {kind.weights}")
    if kind.config not in names:
        raise ModelNotFound(f"{where}: holds no {kind.config}, so this is not {kind.name}")
    if kind.needs_tokenizer and not any(n.startswith("tokenizer") or n == "vocab.json" for n in names):
        raise ModelNotFound(f"{where}: holds no tokenizer")


def check_folder(folder: Path, uri: str, kind: Kind = MODEL) -> None:
    """The same for a folder, which `uri` names in the message."""
    if not folder.is_dir():
        raise ModelNotFound(f"{uri}: there is no folder {folder}")
    check_names([path.name for path in folder.iterdir()], uri, kind)


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
