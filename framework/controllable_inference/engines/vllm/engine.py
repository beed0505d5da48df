"""The engine that runs on vLLM, in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from controllable_inference.core.config import ControlConfig, ControlSettings
from controllable_inference.core.controller import Controller
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.load import load_controller
from controllable_inference.engines.adapters.attached import Attached, of_domain
from controllable_inference.engines.adapters.lora import LoraWeights
from controllable_inference.engines.adapters.tokenizer import DomainTokenizer
from controllable_inference.engines.detokenizer import Detokenizer
from controllable_inference.engines.engine import Engine
from controllable_inference.engines.generation import sampling_of
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.metrics import Observer
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vllm.engine_core import VllmCore
from controllable_inference.engines.vllm.model_runner import VllmRunner
from controllable_inference.engines.vllm.rows import VllmRows
from controllable_inference.engines.vllm.weights import without_control
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import AdapterError, ModelLoadError
from controllable_inference.model_files import check_weights


@dataclass(frozen=True, eq=False)
class ServedAdapter(Attached):
    """lora: the adapter's weights as vLLM is told of them, None if it has none."""

    lora: Any = None


class VllmEngine(Engine):
    """Made by `load`. `adapters` are those that the engine was loaded with."""

    _core: VllmCore

    def __init__(
        self,
        runner: VllmRunner,
        prompts: PromptRenderer,
        vocabulary: Vocabulary,
        controller: Controller,
        limits: EngineLimits,
        sampling: Any,
        adapters: Sequence[ServedAdapter] = (),
        observer: Observer | None = None,
    ) -> None:
        self._runner = runner
        self._adapters = {attached.adapter.domain: attached for attached in adapters}
        room = min(runner.context, (runner.blocks - 1) * runner.block_size)
        super().__init__(prompts, vocabulary, controller, limits, sampling, room, observer)

    @classmethod
    def load(
        cls,
        folder: Path,
        precision: str,
        control: ControlConfig | None,
        settings: ControlSettings,
        *,
        limits: EngineLimits | None = None,
        controller: Controller | None = None,
        adapters: Sequence[DomainAdapter] = (),
        observer: Observer | None = None,
        tensor_parallel: int = 1,
    ) -> VllmEngine:
        """Raises ModelLoadError, ControlConfigError, AdapterError."""
        limits = limits or EngineLimits()
        check_weights(folder)
        try:
            model = SimpleNamespace(
                config=AutoConfig.from_pretrained(folder, trust_remote_code=False),
                generation_config=_generation_config(folder),
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # transformers raises many kinds, and each is about this checkpoint
            raise ModelLoadError(f"{folder} can't be loaded: {error}") from error
        vocabulary = Vocabulary.of(model, tokenizer, control)
        prompts = PromptRenderer(tokenizer, vocabulary.think_end, control.fast_prefix if control else None)
        served = [_served(adapter, number, prompts) for number, adapter in enumerate(adapters, start=1)]
        runner = VllmRunner(without_control(folder, control), precision, limits, tensor_parallel, len(served))
        if controller is None:
            if control is not None and not runner.observes:
                control = control.model_copy(update={"gate": None, "budget": None, "policy": None})
            thinks = vocabulary.think_end is not None
            controller = load_controller(folder, control, settings, runner.hidden_size, thinks)
        return cls(runner, prompts, vocabulary, controller, limits, sampling_of(model), served, observer)

    @property
    def tokenizer(self) -> Any:
        return self.prompts.tokenizer

    def adapter(self, domain: str) -> ServedAdapter:
        return of_domain(self._adapters, domain)

    def add_adapter(self, adapter: DomainAdapter) -> None:
        raise AdapterError("vLLM is told of adapters when it loads a model: give them to from_pretrained")

    def _new_core(self) -> VllmCore:
        rows = VllmRows(self._runner, self.limits.max_concurrent_requests, self.limits.max_rows)
        return VllmCore(
            self._runner,
            rows,
            self.vocabulary,
            self.metrics,
            time.monotonic,
            self.room,
            self.limits.queue_timeout,
        )

    def _can_restart(self) -> bool:
        return False  # what vLLM leaves behind when it fails is not to be built on

    def _free(self) -> None:
        self._runner.close()


def _generation_config(folder: Path) -> GenerationConfig | None:
    there = (folder / "generation_config.json").is_file()
    return GenerationConfig.from_pretrained(folder) if there else None


def _served(adapter: DomainAdapter, number: int, prompts: PromptRenderer) -> ServedAdapter:
    """Raises AdapterError for one that needs what vLLM has not."""
    base = prompts.tokenizer
    tokenizer = DomainTokenizer(base, adapter.special_tokens, first=max(base.get_vocab().values()) + 1)
    if tokenizer.new_ids:
        raise AdapterError(
            f"{adapter.domain}: special tokens that the model does not have can't be added on vLLM; take the "
            "native engine for this adapter, or tokens of the model's own vocabulary"
        )
    lora = None
    if adapter.peft_path is not None:
        from vllm.lora.request import LoRARequest

        LoraWeights.read(adapter.peft_path)  # refused by name, if at all
        lora = LoRARequest(adapter.domain, number, str(adapter.peft_path))
    return ServedAdapter(
        adapter,
        prompts.reading_with(tokenizer),
        Detokenizer(tokenizer),
        frozenset(tokenizer.ids),
        (),
        lora is not None,
        lora,
    )
