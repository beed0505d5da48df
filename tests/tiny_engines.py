"""Tiny random models of the tested families, and a character tokenizer for them."""

from __future__ import annotations

import copy
import string
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from controllable_inference.core.config import ControlConfig
from controllable_inference.core.controller import Controller
from controllable_inference.core.events import Done, Event
from controllable_inference.core.request import Result
from controllable_inference.core.steps import StepDelimiters
from controllable_inference.engines.detokenizer import Detokenizer
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.native import attention
from controllable_inference.engines.native.engine import NativeEngine
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import Vocabulary
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

torch.set_num_threads(1)

FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
}
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}</think>{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<eos>", "</think>", "\n", *string.digits, *string.ascii_letters, *"+-*/=? .,<>:()"]
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    made.add_tokens(["</think>", "\n"])
    made.chat_template = CHAT_TEMPLATE
    return made


def make_model(family: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random model: hidden size 32, two layers, four heads that share two key/value heads."""
    config_class, model_class, extra = FAMILIES[family]
    shape = {
        "vocab_size": 80,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    return model_class(config_class(**{**shape, **extra, **changes})).eval()


def with_our_attention(model: Any) -> Any:
    ours = copy.deepcopy(model)
    ours.set_attn_implementation(attention.NAME)
    return ours


def make_engine(model: Any, tokenizer: Any, controller: Controller, **config: Any) -> NativeEngine:
    ours = with_our_attention(model)
    by_lines = StepDelimiters(["\n"], Detokenizer(tokenizer).token_text)
    vocabulary = replace(Vocabulary.of(ours, tokenizer, None), delimiters=by_lines)
    prompts = PromptRenderer(tokenizer, vocabulary.think_end, None)
    return NativeEngine(ours, prompts, vocabulary, controller, EngineLimits(**{"kv_blocks": 256, **config}))


class Stepped:
    """An engine without a thread: every step is the test's own, so that what happens when is exact."""

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine
        self.core = engine._core
        engine._thread = threading.current_thread()  # submit finds a thread there, and starts none

    def submit(self, prompt: Any, sampling: Any = None, budget: Any = None, **options: Any) -> Watched:
        return Watched(self.engine, prompt, sampling, budget, options)

    def step(self) -> None:
        if not self.engine._commands.empty():
            self.engine._obey(self.core)
        if self.core.outputs.groups:
            self.core.step()
        self.check()

    def run(self, most: int = 3000) -> None:
        for _ in range(most):
            self.step()
            if not self.core.outputs.groups and self.engine._commands.empty():
                return
        raise AssertionError(f"requests still in the engine after {most} steps")

    def check(self) -> None:
        """What must hold between any two steps."""
        scheduler = self.core.scheduler
        groups = self.core.outputs.groups
        rows = [p for g in groups for p in g.all_rows]
        scheduler.blocks.check([g.prompt_table for g in groups] + [p.table for p in rows])
        assert all(not p.table for p in rows if not p.running)
        assert sum(len(g.running_rows) for g in scheduler.running) <= scheduler.max_rows


class Watched:
    """A submitted request and the events it had."""

    def __init__(
        self, engine: NativeEngine, prompt: Any, sampling: Any, budget: Any, options: dict[str, Any]
    ) -> None:
        self.events: list[Event] = []
        self.handle = engine.submit(prompt, sampling, budget, self.events.append, **options)

    @property
    def result(self) -> Result:
        assert isinstance(self.events[-1], Done), self.events[-1]
        return self.events[-1].result

    @property
    def kinds(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def texts(self) -> list[str]:
        return [path.text for path in self.result.paths]


def save_checkpoint(folder: Path, model: Any, tokenizer: Any, control: ControlConfig | None = None) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if control is not None:
        control.save(folder)
    return folder


def other_ranks() -> list[psutil.Process]:
    """The processes of other ranks that this process has."""

    def is_rank(process: psutil.Process) -> bool:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        parent = process.parent()
        forked = parent is not None and any("forked_ranks import serve" in word for word in parent.cmdline())
        return forked or any("tensor_parallel import work" in word for word in process.cmdline())

    return [process for process in psutil.Process().children(recursive=True) if is_rank(process)]
