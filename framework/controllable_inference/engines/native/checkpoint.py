"""From a folder or repository id to a loaded model and tokenizer; safetensors or GGUF, never pickle."""

from __future__ import annotations

from math import gcd
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.distributed import DistributedConfig

from controllable_inference.engines.native import attention
from controllable_inference.engines.native.kv_cache import kv_shape
from controllable_inference.errors import ModelLoadError, ModelNotFound
from controllable_inference.model_files import WANTED, check_weights

Precision = Literal["auto", "float32", "bfloat16", "float16"]
ATTENTION_LAYERS = {"full_attention", "sliding_attention"}


def find(path_or_repo: str | Path, revision: str | None = None, token: str | None = None) -> Path:
    """Folder of the checkpoint, downloaded from the Hugging Face Hub unless it is a local one.

    Raises ModelNotFound, saying where it was looked for.
    """
    folder = Path(path_or_repo)
    if folder.is_dir():
        return folder
    try:
        return Path(
            snapshot_download(str(path_or_repo), revision=revision, token=token, allow_patterns=list(WANTED))
        )
    except HFValidationError as error:
        raise ModelNotFound(f"{path_or_repo} is neither a folder nor a repository id") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFound(
            f"{path_or_repo} is not a folder here, and the Hugging Face Hub gave no such repository: {error}"
        ) from error


def load(
    folder: Path,
    precision: Precision = "auto",
    gguf_file: str | None = None,
    device: str | None = None,
    ranks: int = 1,
) -> tuple[Any, Any]:
    """(model in evaluation mode with the engine's attention, tokenizer).

    precision auto: float32 on the CPU, the checkpoint's own on a GPU. device: CUDA if there is one.
    ranks: of the process group, each of which gets its share of the model, on its own device.
    Raises ModelLoadError with the reason.
    """
    if precision not in get_args(Precision):
        raise ModelLoadError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device has its own way to say that there is none
        raise ModelLoadError(f"device {device!r} can't be used: {error}") from error
    dtype: Any = (
        ("auto" if device != "cpu" else torch.float32) if precision == "auto" else getattr(torch, precision)
    )
    if gguf_file is None:
        check_weights(folder)
    source: dict[str, Any] = {"trust_remote_code": False}
    if gguf_file is not None:
        source["gguf_file"] = gguf_file
    shared = {"distributed_config": DistributedConfig(tp_size=ranks)} if ranks > 1 else {}
    try:
        config = AutoConfig.from_pretrained(folder, **source)
        _check_architecture(folder, config)
        tokenizer = AutoTokenizer.from_pretrained(folder, **source)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention.NAME,
            use_safetensors=gguf_file is None,
            output_loading_info=True,
            **source,
            **shared,
        )
    except ModelLoadError:
        raise
    except Exception as error:  # transformers raises many kinds, and each is about this checkpoint
        raise ModelLoadError(f"{folder} can't be loaded: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelLoadError(f"{folder} lacks weights the architecture needs: {', '.join(missing[:5])}")
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelLoadError(f"{folder}: {type(model).__name__} does not let its attention be replaced")
    return (model if shared else model.to(device)).eval(), tokenizer


def check_ranks(folder: Path, ranks: int) -> None:
    """Raises ModelLoadError where the model can't be shared by so many ranks, and says by how many."""
    check_weights(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ModelLoadError(f"{folder} can't be loaded: {error}") from error
    kv_heads, heads = kv_shape(config)[0], config.num_attention_heads
    if ranks < 1 or gcd(kv_heads, heads) % ranks:
        fitting = [str(n) for n in range(1, kv_heads + 1) if gcd(kv_heads, heads) % n == 0]
        raise ModelLoadError(
            f"{folder}: tensor_parallel {ranks} does not divide {kv_heads} key-value heads and {heads} "
            f"attention heads; {' or '.join(fitting)} would"
        )
    plan = getattr(config, "base_model_tp_plan", None) or {}
    if not any(name.endswith(".k_proj") and style == "colwise" for name, style in plan.items()):
        raise ModelLoadError(
            f"{folder}: transformers has no plan that shares the attention heads of {config.model_type}; "
            "load it with tensor_parallel 1"
        )


def _check_architecture(folder: Path, config: Any) -> None:
    foreign = set(getattr(config, "layer_types", None) or ()) - ATTENTION_LAYERS
    if foreign:
        raise ModelLoadError(
            f"{folder}: layers of type {', '.join(sorted(foreign))} have no paged cache here"
        )
    if getattr(config, "attn_logit_softcapping", None):
        raise ModelLoadError(f"{folder}: attention with capped logits is not supported")
