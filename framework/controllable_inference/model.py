"""ControllableInference: a checkpoint, its engine, and its controller, as one object."""

from __future__ import annotations

import importlib.util
import logging
import queue
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch

from controllable_inference import errors
from controllable_inference.core.config import ControlConfig, ControlSettings
from controllable_inference.core.controller import Controller
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.events import Done, Event, Failed
from controllable_inference.core.load import load_controller
from controllable_inference.core.request import (
    EFFORT_COEFFICIENTS,
    Effort,
    Messages,
    RequestBudget,
    Result,
    SamplingParams,
    Trace,
)
from controllable_inference.engines.engine import Engine
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.metrics import Observer
from controllable_inference.engines.native import checkpoint
from controllable_inference.engines.native.engine import NativeEngine
from controllable_inference.engines.native.tensor_parallel import Ranks
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import AdapterError, ModelLoadError, RequestError

log = logging.getLogger(__name__)
T = TypeVar("T")

EngineName = Literal["auto", "native", "vllm"]

PUBLISHED = {
    "deepseek/r1-7b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    "deepseek/r1-13b": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
}
"""Names the article uses for models that exist under others, by what comes nearest."""


class ControllableInference:
    """A reasoning model under control. `close` it, or use it as a context manager.

    >>> with ControllableInference.from_pretrained("models/nano") as model:
    ...     model.generate("What is 2 + 3?").answer
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        engine: Engine,
        control: ControlConfig | None,
        trace: Trace = "summary",
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.engine = engine
        self.control = control
        self.trace = trace
        self.default_adapter: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | Path,
        precision: checkpoint.Precision = "auto",
        control: dict[str, Any] | ControlSettings | None = None,
        *,
        gguf_file: str | None = None,
        revision: str | None = None,
        token: str | None = None,
        device: str | None = None,
        limits: EngineLimits | None = None,
        controller: Controller | None = None,
        observer: Observer | None = None,
        tensor_parallel: int = 1,
        engine: EngineName = "auto",
        adapters: Sequence[DomainAdapter] = (),
    ) -> ControllableInference:
        """Load a folder or a Hugging Face repository, with the gate and budget beside the weights.

        control: the `control` part of engine.json; its `trace` is that of requests that name none.
        gguf_file: name of a GGUF file in the folder, to load instead of safetensors. token: for private
        repositories. controller: takes the shipped one's place. tensor_parallel: devices (the first GPUs,
        or CPU processes where there is none) that share the model; each but the first has its own process.
        engine: auto takes vLLM where there are a GPU and vLLM, else the native engine. adapters: domain
        adapters, as `add_adapter` takes them one by one; vLLM has to be told of them here.

        Raises ModelNotFound, ModelLoadError, ControlConfigError, AdapterError.
        """
        folder = checkpoint.find(_published(path_or_repo), revision, token)
        settings = ControlSettings.parse(control)
        config = ControlConfig.load(folder)
        if engine == "vllm" and (gguf_file is not None or device is not None):
            raise ModelLoadError("vLLM takes safetensors, and the GPUs that it finds: no GGUF, no device")
        if engine == "vllm" or (engine == "auto" and gguf_file is None and device is None and _has_vllm()):
            from controllable_inference.engines.vllm.engine import VllmEngine

            on_vllm = VllmEngine.load(
                folder,
                precision,
                config,
                settings,
                limits=limits,
                controller=controller,
                adapters=adapters,
                observer=observer,
                tensor_parallel=tensor_parallel,
            )
            return cls(None, on_vllm.tokenizer, on_vllm, config, settings.trace)
        if tensor_parallel != 1 and (gguf_file is not None or device is not None):
            raise ModelLoadError(
                "tensor_parallel shares safetensors among the first GPUs: no GGUF, no device"
            )
        with ExitStack() as undo:
            ranks = None
            if tensor_parallel == 1:
                model, tokenizer = checkpoint.load(folder, precision, gguf_file, device)
            else:
                ranks = Ranks(folder, precision, tensor_parallel)
                undo.callback(ranks.close)
                model, tokenizer = ranks.load()
            vocabulary = Vocabulary.of(model, tokenizer, config)
            if controller is None:
                thinks = vocabulary.think_end is not None
                controller = load_controller(folder, config, settings, model.config.hidden_size, thinks)
            prompts = PromptRenderer(tokenizer, vocabulary.think_end, config.fast_prefix if config else None)
            running = NativeEngine(model, prompts, vocabulary, controller, limits, observer, ranks)
            undo.callback(running.shutdown)
            for adapter in adapters:
                try:
                    running.add_adapter(adapter)
                except AdapterError as error:
                    raise AdapterError(f"adapter {adapter.domain}: {error}") from error
            undo.pop_all()
        return cls(model, tokenizer, running, config, settings.trace)

    def generate(
        self,
        prompt: str | Messages,
        sampling: SamplingParams | None = None,
        budget: float | Effort | RequestBudget | None = None,
        *,
        paths: int | None = None,
        max_paths: int | None = None,
        thinking_tokens: int | None = None,
        deadline: float | None = None,
        seed: int | None = None,
        controller: Controller | None = None,
        adapter: str | None = None,
    ) -> Result:
        """Answer one prompt (text, or chat messages).

        budget: the coefficient in [0, 2], an effort ("none", "minimal", "low", "medium", "high"), or a
        RequestBudget with everything; None lets the model decide. paths, max_paths, thinking_tokens,
        deadline: as RequestBudget has them. seed: same seed, same result. adapter: domain of an adapter that
        was added, "" for none where there is a default.

        Raises RequestError (whose `field` is the argument at fault), ControllerError, ModelOutputError,
        QueueFull, QueueTimeout, DeadlineExceeded, EngineDead, EngineClosed.
        """
        asked = request_budget(
            budget, paths=paths, max_paths=max_paths, thinking_tokens=thinking_tokens, deadline=deadline
        )
        for event in self._events(prompt, sampling, asked, seed, controller, adapter, streaming=False):
            if isinstance(event, Done):
                return event.result
        raise AssertionError("every request ends with Done or an error")

    def stream(
        self,
        prompt: str | Messages,
        sampling: SamplingParams | None = None,
        budget: float | Effort | RequestBudget | None = None,
        *,
        paths: int | None = None,
        max_paths: int | None = None,
        thinking_tokens: int | None = None,
        deadline: float | None = None,
        seed: int | None = None,
        controller: Controller | None = None,
        adapter: str | None = None,
    ) -> Iterator[Event]:
        """The same as events while they happen; the last is Done. Closing the iterator cancels."""
        asked = request_budget(
            budget, paths=paths, max_paths=max_paths, thinking_tokens=thinking_tokens, deadline=deadline
        )
        return self._events(prompt, sampling, asked, seed, controller, adapter, streaming=True)

    def add_adapter(self, adapter: DomainAdapter, *, default: bool = False) -> None:
        """Give the model a domain's tokens, budget scale and LoRA weights.

        They hold for requests that name the domain (`generate(..., adapter="medical")`), and for no other:
        those draw what they drew before. default: requests that name none get this adapter from now on.

        Raises AdapterError, EngineBusy while requests run or wait.
        """
        self.engine.add_adapter(adapter)
        if default:
            self.default_adapter = adapter.domain

    def render(self, messages: Messages, thinking: bool = True) -> str:
        """The text these messages become, with the model's thinking on or skipped."""
        return self.engine.prompts.render(messages, thinking)

    def close(self) -> None:
        """Cancel what runs, and end the engine."""
        self.engine.shutdown()

    def __enter__(self) -> ControllableInference:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _events(
        self,
        prompt: str | Messages,
        sampling: SamplingParams | None,
        budget: RequestBudget,
        seed: int | None,
        controller: Controller | None,
        adapter: str | None,
        streaming: bool,
    ) -> Iterator[Event]:
        sampling = sampling or SamplingParams()
        if budget.trace is None:
            budget = replace(budget, trace=self.trace)
        if seed is not None:
            sampling = replace(sampling, seed=_once("seed", seed, sampling.seed))
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        handle = self.engine.submit(
            prompt,
            sampling,
            budget,
            events.put,
            controller=controller,
            adapter=(self.default_adapter if adapter is None else adapter) or None,
            streaming=streaming,
        )
        try:
            while True:
                event = events.get()
                if isinstance(event, Failed):
                    raise getattr(errors, event.error, errors.ControllableError)(event.message)
                yield event
                if isinstance(event, Done):
                    return
        finally:
            handle.cancel()


def request_budget(budget: float | str | RequestBudget | None, **limits: int | float | None) -> RequestBudget:
    """One RequestBudget of what `generate` was given. limits: further fields of it.

    Raises RequestError for what does not fit, or says one thing twice and differently.
    """
    if isinstance(budget, RequestBudget):
        base = budget
    elif budget is None:
        base = RequestBudget()
    elif isinstance(budget, str) and budget in EFFORT_COEFFICIENTS:
        base = RequestBudget(effort=cast(Effort, budget))
    elif isinstance(budget, int | float) and not isinstance(budget, bool) and 0 <= budget <= 2:
        base = RequestBudget(coefficient=budget)
    else:
        efforts = ", ".join(EFFORT_COEFFICIENTS)
        raise RequestError(
            "budget", f"must be a coefficient in [0, 2], one of {efforts}, or a RequestBudget, got {budget!r}"
        )
    given = {
        name: _once(name, value, getattr(base, name)) for name, value in limits.items() if value is not None
    }
    try:
        return replace(base, **given)
    except RequestError as error:
        raise RequestError(error.field.removeprefix("control."), error.message) from None


def _once(name: str, value: T, before: T | None) -> T:
    if before is not None and before != value:
        raise RequestError(
            name, f"is {value!r} as an argument and {before!r} in the object given; say it once"
        )
    return value


def _has_vllm() -> bool:
    return torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


def _published(path_or_repo: str | Path) -> str | Path:
    """The repository that stands for a name of the article, unless there is a folder of that name."""
    repo = PUBLISHED.get(str(path_or_repo))
    if repo is None or Path(path_or_repo).is_dir():
        return path_or_repo
    log.warning("%s was never published under this name; loading %s", path_or_repo, repo)
    return repo
