"""LoRA weights for single requests of a batch: peft's layers, told which tokens are theirs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from controllable_inference.engines.adapters.tokens import INPUT, OUTPUT
from controllable_inference.errors import AdapterError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_HARMLESS_INIT = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA of Linear layers as read from disk. embeddings: whole matrices it was saved with, by name."""

    folder: Path
    config: Any
    state: dict[str, Tensor]
    embeddings: dict[str, Tensor]

    @classmethod
    def read(cls, folder: str | Path) -> LoraWeights:
        """Raises AdapterError: no peft here, no adapter there, pickled weights, or a kind not supported."""
        folder = Path(folder)
        try:
            from peft import LoraConfig, PeftConfig
        except ImportError as error:
            raise AdapterError(f"{folder} needs peft: pip install peft") from error
        if not (folder / WEIGHTS).is_file():
            pickled = (folder / "adapter_model.bin").exists()
            raise AdapterError(
                f"{folder} holds pickled weights only, and loading a pickle runs the code in it; save the "
                "adapter with safe_serialization=True"
                if pickled
                else f"{folder} holds no {WEIGHTS}; peft_path is the folder that peft's save_pretrained wrote"
            )
        try:
            config = PeftConfig.from_pretrained(str(folder))
            state = load_file(folder / WEIGHTS)
        except Exception as error:  # peft and safetensors raise many kinds, and each is about these files
            raise AdapterError(f"{folder} can't be read: {error}") from error
        if not isinstance(config, LoraConfig) or config.use_dora or config.bias != "none":
            kind = "DoRA" if getattr(config, "use_dora", False) else str(config.peft_type)
            raise AdapterError(f"{folder}: {kind} with bias is not supported, only plain LoRA without bias")
        if config.init_lora_weights not in _HARMLESS_INIT:
            raise AdapterError(
                f"{folder}: init_lora_weights is {config.init_lora_weights!r}, which changes the model's own "
                "weights, and with them what other requests get; let peft convert it to a plain LoRA "
                "(path_initial_model_for_weight_conversion of save_pretrained)"
            )
        embeddings = {}
        for name in (INPUT, OUTPUT):
            for key in [k for k in state if k.endswith(f"{name}.weight")]:
                embeddings[name] = state.pop(key)
        foreign = [key for key in state if ".lora_A." not in key and ".lora_B." not in key]
        if foreign:
            raise AdapterError(
                f"{folder} trains {foreign[0]}, which would change what other requests get; "
                "only LoRA of linear layers inside the blocks can be told apart by request"
            )
        return cls(folder, config, state, embeddings)

    def rows_of_new_tokens(self, model: Any, known: int, count: int) -> dict[str, Tensor]:
        """What it learned for `count` tokens that were added to a vocabulary of `known`: rows by matrix.

        Raises AdapterError where it learned other rows too: these are everybody's.
        """
        found = {}
        for name, module in ((INPUT, model.get_input_embeddings()), (OUTPUT, model.get_output_embeddings())):
            if (trained := self.embeddings.get(name)) is None:
                continue
            base = module.weight[:known].detach().to(trained)
            fits = len(trained) >= known + count and trained.shape[1] == base.shape[1]
            if not fits or not trained[:known].allclose(base, atol=1e-4):
                raise AdapterError(
                    f"{self.folder}: its {name} is not this model's with {count} rows more; rows of tokens "
                    "that the model has already can't be trained, for other requests use them too"
                )
            found[name] = trained[known : known + count]
        return found

    def inject(self, model: Any, name: str) -> list[nn.Module]:
        """Put the weights into the model's layers. Returns the modules whose output is what they add.

        Raises AdapterError when they are another model's; the model is then as it was.
        """
        from peft import inject_adapter_in_model, set_peft_model_state_dict
        from peft.tuners.lora import LoraLayer

        try:
            with warnings.catch_warnings():  # peft warns of a second adapter; here it is meant
                warnings.simplefilter("ignore")
                inject_adapter_in_model(self.config, model, adapter_name=name)
            report = set_peft_model_state_dict(model, dict(self.state), adapter_name=name)
            layers = [m for m in model.modules() if isinstance(m, LoraLayer) and name in m.lora_B]
            missing = [key for key in report.missing_keys if "lora_" in key and f".{name}." in key]
            if report.unexpected_keys or missing or not layers:
                odd = (report.unexpected_keys or missing or ["no layer"])[0]
                raise AdapterError(f"{self.folder} does not fit this model: {odd}{self._trained_for}")
            if any(layer is model.get_output_embeddings() for layer in layers):
                raise AdapterError(f"{self.folder} adapts {OUTPUT}, which is not supported")
        except Exception as error:
            remove(model, name)
            if isinstance(error, AdapterError):
                raise
            told = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
            raise AdapterError(f"{self.folder} does not fit this model: {told}{self._trained_for}") from error
        _activate_all(model)
        model.eval()
        return [layer.lora_B[name] for layer in layers]

    @property
    def _trained_for(self) -> str:
        base = self.config.base_model_name_or_path
        return f"; it was trained for {base}" if base else ""


def remove(model: Any, name: str) -> None:
    """Take the weights out again, and the model's own layers out of peft's that hold none any more."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    with warnings.catch_warnings():  # peft warns that it makes another the active one
        warnings.simplefilter("ignore")
        for path, module in list(model.named_modules()):
            if isinstance(module, BaseTunerLayer):
                module.delete_adapter(name)
                if not module.active_adapters:
                    model.set_submodule(path, module.get_base_layer())
    _activate_all(model)


def _activate_all(model: Any) -> None:
    """Undo that peft makes the newest adapter, or the first that is left, the only active one."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.set_adapter(list(module.lora_B))
