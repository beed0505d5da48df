"""Recordings on disk, in files written whole or not at all: what a killed run has done is not lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from controllable_inference.core.config import ControlConfig
from controllable_inference.core.features import STATISTICS
from controllable_inference.learn import records
from controllable_inference.learn.records import ProblemRecord, RecordsError
from controllable_inference.learn.rollouts import Sampling

# What makes a model say what it says. Not control.json, nor the weights it names.
_MODEL_FILES = ("model*.safetensors", "*.gguf", "*config.json", "tokenizer*", "*.jinja")


class Shards:
    """A folder of recordings. Any number of runs may add to it; a question stands in it once or more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, ProblemRecord]:
        """Everything recorded, by question. Raises RecordsError for a file that can't be read."""
        found: dict[str, ProblemRecord] = {}
        for path in sorted(self.folder.glob("records-*.pt")):
            try:
                found.update({record.question: record for record in records.load(path)})
            except RecordsError:
                raise
            except Exception as error:  # torch raises many kinds for a file that is no longer what it was
                raise RecordsError(
                    f"{path} can't be read: {error}; delete it, its problems are recorded anew"
                ) from error
        return found

    def add(self, recorded: Sequence[ProblemRecord]) -> Path:
        """Write these to a file of their own, named by their questions."""
        name = _digest(record.question.encode() for record in recorded)
        path = self.folder / f"records-{name}.pt"
        records.save(list(recorded), path)
        return path


def shards_of(
    work: Path, model: Path, digest: str, config: ControlConfig, task: str, sampling: Sampling
) -> Shards:
    """The folder under `work` for what depends on just these: model, task, sampling, and marks of steps.

    digest: `model_digest(model)`.
    """
    settings = {
        "model": digest,
        "task": task,
        "sampling": asdict(sampling),
        "statistics": STATISTICS,
        "steps": [config.step_delimiters, config.think_end, config.fast_prefix],
    }
    written = json.dumps(settings, indent=2)
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in f"{model.resolve().name}-{task}")
    shards = Shards(work / f"{safe}-{_digest([written.encode()])}")
    (shards.folder / "settings.json").write_text(written + "\n", encoding="utf-8")
    return shards


def model_digest(folder: Path) -> str:
    """One hash over a checkpoint's weights, configuration and tokenizer."""

    def contents() -> Iterable[bytes]:
        for path in sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern)}):
            yield path.name.encode()
            with path.open("rb") as file:
                yield hashlib.file_digest(file, "sha256").digest()

    return _digest(contents())


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:12]
