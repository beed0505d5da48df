"""ControllableInference: a checkpoint, its engine, and its controller, as one object."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from controllable_inference import checkpoint, errors
from controllable_inference.control.config import ControlConfig, ControlSettings
from controllable_inference.control.controller import Controller
from controllable_inference.control.load import load_controller
from controllable_inference.engine.engine import Engine, EngineConfig
from controllable_inference.engine.events import Done, Event, Failed
from controllable_inference.engine.metrics import Observer
from controllable_inference.engine.prompt import PromptRenderer
from controllable_inference.engine.request import Messages, RequestBudget, Result, SamplingParams, Trace
from controllable_inference.engine.vocabulary import Vocabulary


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
        engine: EngineConfig | None = None,
        controller: Controller | None = None,
        observer: Observer | None = None,
    ) -> ControllableInference:
        """Load a folder or a Hugging Face repository, with the gate and budget beside the weights.

        control: the `control` part of engine.json; its `trace` is that of requests that name none.
        gguf_file: name of a GGUF file in the folder, to load instead of safetensors. token: for private
        repositories. controller: takes the shipped one's place.

        Raises ModelNotFound, ModelLoadError, ControlConfigError.
        """
        folder = checkpoint.find(path_or_repo, revision, token)
        settings = ControlSettings.parse(control)
        config = ControlConfig.load(folder)
        model, tokenizer = checkpoint.load(folder, precision, gguf_file, device)
        vocabulary = Vocabulary.of(model, tokenizer, config)
        if controller is None:
            thinks = vocabulary.think_end is not None
            controller = load_controller(folder, config, settings, model.config.hidden_size, thinks)
        prompts = PromptRenderer(tokenizer, vocabulary.think_end, config.fast_prefix if config else None)
        running = Engine(model, prompts, vocabulary, controller, engine, observer)
        return cls(model, tokenizer, running, config, settings.trace)

    def generate(
        self,
        prompt: str | Messages,
        sampling: SamplingParams | None = None,
        budget: RequestBudget | None = None,
        *,
        seed: int | None = None,
        controller: Controller | None = None,
    ) -> Result:
        """Answer one prompt (text, or chat messages). `seed` is short for `SamplingParams(seed=...)`.

        Raises RequestError, QueueFull, QueueTimeout, DeadlineExceeded,
        EngineDead, EngineClosed.
        """
        for event in self._events(prompt, sampling, budget, seed, controller, streaming=False):
            if isinstance(event, Done):
                return event.result
        raise AssertionError("every request ends with Done or an error")

    def stream(
        self,
        prompt: str | Messages,
        sampling: SamplingParams | None = None,
        budget: RequestBudget | None = None,
        *,
        seed: int | None = None,
        controller: Controller | None = None,
    ) -> Iterator[Event]:
        """The same as events while they happen; the last is Done. Closing the iterator cancels."""
        return self._events(prompt, sampling, budget, seed, controller, streaming=True)

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
        budget: RequestBudget | None,
        seed: int | None,
        controller: Controller | None,
        streaming: bool,
    ) -> Iterator[Event]:
        sampling, budget = sampling or SamplingParams(), budget or RequestBudget()
        if budget.trace is None:
            budget = replace(budget, trace=self.trace)
        if seed is not None:
            sampling = replace(sampling, seed=seed)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        handle = self.engine.submit(
            prompt, sampling, budget, events.put, controller=controller, streaming=streaming
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
