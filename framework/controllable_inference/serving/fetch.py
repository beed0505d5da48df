"""Brings a model's files to a folder, whatever the URI. Only safetensors: pickled weights run code when read.

| URI | what happens |
|---|---|
| `image:///models/nano` | link to that folder of this image; elsewhere to the shipped `models/nano` |
| `pvc://claim/path` | link to `path` under CONTROLLABLE_PVC_ROOT, where the claim is mounted |
| `hf://org/repo` | download of a revision from the Hugging Face hub (HF_TOKEN, HF_ENDPOINT are honoured) |
| a plain path | link to it |
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from controllable_inference.errors import ModelNotFound
from controllable_inference.model_files import PICKLED, WANTED
from controllable_inference.serving.resources import resource

PVC_ROOT_ENV = "CONTROLLABLE_PVC_ROOT"

Progress = Callable[[str], None]


def fetch(
    uri: str,
    to: Path,
    revision: str | None = None,
    environ: Mapping[str, str] = os.environ,
    progress: Progress = print,
) -> Path:
    """Make `to` the model that `uri` names: a link where the files are already here, else a download.

    Safe to repeat and to interrupt: `to` appears whole or not at all, a download goes on where it stopped.
    Raises ModelNotFound, whose message says what the source lacks and what to do.
    """
    to = Path(os.path.abspath(to))  # noqa: PTH100 - `resolve` would follow a link left by an earlier fetch
    parts = urlsplit(uri)
    to.parent.mkdir(parents=True, exist_ok=True)
    if parts.scheme == "hf":
        _download(f"{parts.netloc}{parts.path}".strip("/"), revision, to, progress)
    else:
        source = local_source(uri, environ)
        check_model_folder(source, uri)
        _link(source, to)
        progress(f"the model is in {source}")
    return to


def local_source(uri: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that a URI without a download names; ModelNotFound where the URI can't be one."""
    parts = urlsplit(uri)
    if ".." in Path(parts.path).parts:
        raise ModelNotFound(f"{uri}: '..' is not allowed in a model's URI")
    if parts.scheme == "image":
        if parts.netloc:
            raise ModelNotFound(f"{uri}: write image:///path, with three slashes")
        in_image = Path(parts.path)
        return in_image if in_image.is_dir() else resource(parts.path.strip("/")) or in_image
    if parts.scheme == "pvc":
        root = environ.get(PVC_ROOT_ENV)
        if not root:
            raise ModelNotFound(f"{uri}: {PVC_ROOT_ENV} is not set: it says where the claim is mounted")
        return Path(root) / parts.path.lstrip("/")
    if parts.scheme == "":
        return Path(uri).absolute()
    raise ModelNotFound(f"{uri}: unknown scheme; known are image:///path, pvc://claim/path and hf://org/repo")


def check_model_folder(folder: Path, uri: str) -> None:
    """A model is config.json, a tokenizer and safetensors; ModelNotFound says which of them is missing."""
    if not folder.is_dir():
        raise ModelNotFound(f"{uri}: there is no folder {folder}")
    _check_names([path.name for path in folder.iterdir()], uri)


def _check_names(names: Iterable[str], where: str) -> None:
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


def _link(source: Path, to: Path) -> None:
    if to.is_dir() and not to.is_symlink():
        raise ModelNotFound(f"{to}: is a folder already; remove it or fetch to another place")
    staged = to.with_name(f".{to.name}.link")
    staged.unlink(missing_ok=True)
    staged.symlink_to(source)
    staged.replace(to)


def _download(repo: str, revision: str | None, to: Path, progress: Progress) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name = f"hf://{repo}" + (f"@{revision}" if revision else "")
    try:
        info = HfApi().model_info(repo, revision=revision)
        _check_names([file.rfilename for file in info.siblings or []], name)
        commit = info.sha or revision
        if _complete(to, repo, commit):
            progress(f"{name} is already in {to}")
            return
        partial = to.with_name(f".{to.name}.partial")
        progress(f"downloading {name} (commit {commit})")
        # Into a folder of its own, where an interrupted download is taken up again file by file.
        snapshot_download(repo, revision=commit, allow_patterns=list(WANTED), local_dir=partial)
    except GatedRepoError as error:
        raise ModelNotFound(
            f"{name}: gated; accept its terms on the hub, and give a token that may read it "
            "(secretRef, or HF_TOKEN)"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"{name}: the repository has no such revision") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"{name}: no such repository, or it is private and HF_TOKEN can't read it"
        ) from error
    except ModelNotFound:
        raise
    except Exception as error:  # the hub's client fails in the ways of several libraries
        raise ModelNotFound(f"{name}: {type(error).__name__}: {error}; run it again to go on") from error
    _publish(partial, to, f"{repo}@{commit}")


def _publish(partial: Path, to: Path, source: str) -> None:
    shutil.rmtree(partial / ".cache", ignore_errors=True)
    check_model_folder(partial, source)
    (partial / _SOURCE).write_text(source)
    if to.is_symlink():
        to.unlink()
    elif to.exists():
        shutil.rmtree(to)
    partial.rename(to)


_SOURCE = ".source"  # which download a folder holds, so that it isn't repeated


def _complete(to: Path, repo: str, commit: str | None) -> bool:
    with contextlib.suppress(OSError):
        return (to / _SOURCE).read_text() == f"{repo}@{commit}"
    return False
