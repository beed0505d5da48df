"""The model that control is trained for: found, loaded, and what is beside it already."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.config import CONTROL_FILE, ClosingConfig, ControlConfig
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.native import checkpoint
from controllable_inference.engines.native.engine import NativeEngine
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import THINK_END, Vocabulary
from controllable_inference.errors import ControlConfigError, ControllableError
from controllable_inference.fetch import check_folder, local_source
from controllable_inference.learn.shards import model_digest
from controllable_inference.learn.task import Task, Verifier, equal_by, same_answer


class TrainingError(ControllableError):
    """There is nothing to learn from what was recorded, or no place to write to."""


@dataclass(frozen=True)
class Subject:
    """The model that control is trained for. digest: of its files. config: what is beside it, or will be.

    source: folder of the control.json that was found, None if there was none.
    """

    folder: Path
    model: Any
    tokenizer: Any
    digest: str
    config: ControlConfig
    source: Path | None

    @contextmanager
    def engine(self) -> Iterator[NativeEngine]:
        """The model on an engine whose requests nobody waits for, shut down at the end: on a busy machine one
        may stand in the queue for minutes.
        """
        vocabulary = self.vocabulary()
        prompts = PromptRenderer(self.tokenizer, vocabulary.think_end, self.config.fast_prefix)
        patient = EngineLimits(queue_timeout=math.inf)
        engine = NativeEngine(self.model, prompts, vocabulary, SingleSample(), patient)
        try:
            yield engine
        finally:
            engine.shutdown()

    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.model, self.tokenizer, self.config)

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.hidden_size)

    def with_delimiters(self, delimiters: list[str]) -> Subject:
        return replace(self, config=self.config.model_copy(update={"step_delimiters": delimiters}))

    @classmethod
    def load(cls, folder: Path, output: Path) -> Subject:
        """Raises ModelLoadError, and ControlConfigError for a control.json that can't be read."""
        source = next((at for at in (output, folder) if (at / CONTROL_FILE).is_file()), None)
        try:
            config = ControlConfig.load(source) if source else None
        except ControlConfigError as error:
            raise ControlConfigError(f"{error}\nRemove it to train everything anew: train all") from error
        model, tokenizer = checkpoint.load(folder)
        config = config or _first_config(model, tokenizer)
        digest = model_digest(folder)
        if config.data.get("model", digest) != digest:
            config = config.model_copy(update={"data": {"model": config.data["model"]}, "figures": {}})
        return cls(folder, model, tokenizer, digest, config, source)


def _first_config(model: Any, tokenizer: Any) -> ControlConfig:
    """Where a model's steps and thinking end, as its tokenizer and chat template give it away."""
    think_end = Vocabulary.of(model, tokenizer, None).think_end
    if think_end is None:
        return ControlConfig(think_end=None)
    prompts = PromptRenderer(tokenizer, THINK_END, None)
    slow, fast = (prompts.render([{"role": "user", "content": "?"}], thinks) for thinks in (True, False))
    closing = ClosingConfig()
    if fast != slow and THINK_END in fast:  # as the template itself closes a thinking segment
        before, _, behind = fast.rpartition(THINK_END)
        closing = ClosingConfig(text=("\n" if before.endswith("\n\n") else "") + THINK_END + behind)
    fast_prefix = fast.removeprefix(slow) if fast.startswith(slow) else ""
    return ControlConfig(fast_prefix=fast_prefix, closing=closing)


def find_model(model: str, output: Path | None) -> Path:
    """Folder of a model given by its folder, image:///path, pvc://claim/path, or Hugging Face repository.

    Raises ModelNotFound; TrainingError for a repository when there is no `output`, as its folder is a cache.
    """
    if not model.startswith("hf://"):
        folder = local_source(model)
        if folder.is_dir() or "://" in model:
            check_folder(folder, model)
            return folder
    folder = checkpoint.find(model.removeprefix("hf://"))
    if output is None:
        raise TrainingError(
            f"{model} was downloaded to a cache; say with --output where control.json shall go"
        )
    return folder


def verifier_of(task: Task, config: ControlConfig) -> Verifier:
    """The task's own; one that compares with references does so as the model's votes are compared."""
    if task.verifier is same_answer and config.equality != "none":
        return equal_by(config.equality)
    return task.verifier


def check_writable(folder: Path) -> None:
    """Find out now, and not after an hour. Raises TrainingError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrainingError(f"{folder} can't be written to ({error}); name another with --output") from error
