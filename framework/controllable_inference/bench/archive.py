"""Recordings on disk, named by the model that made them: a second evaluation does not sample again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from controllable_inference.bench.problem_sets import TOKEN_CAP, Chunk
from controllable_inference.core.config import ControlConfig
from controllable_inference.core.features import STATISTICS
from controllable_inference.learn import records
from controllable_inference.learn.records import ProblemRecord

WEIGHTS = ("*.safetensors", "*.gguf")
CONTROL_WEIGHTS = ("gate.safetensors", "budget.safetensors", "policy.safetensors")
TEXT = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def fingerprint(folder: Path) -> str:
    """12 hexadecimal digits of all that decides what a model writes, and what is noted of it.

    Not of gate, budget and policy: they may be trained anew, and the recordings still hold.

    `training.shards.model_digest` says much the same. Each names what has been kept on disk under it, where a
    common one would orphan the one or the other, and this one also covers what steps and statistics are.
    """
    weights = {path for pattern in WEIGHTS for path in folder.glob(pattern)}
    files = sorted(path for path in weights if path.name not in CONTROL_WEIGHTS)
    files += [folder / name for name in TEXT if (folder / name).is_file()]
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    config = ControlConfig.load(folder)
    steps = config and [config.step_delimiters, config.think_end, config.fast_prefix]
    digest.update(json.dumps([steps, STATISTICS]).encode())
    return digest.hexdigest()[:12]


def file_of(folder: Path, chunk: Chunk) -> Path:
    """Where a chunk is kept: its name changes with every question, seed and setting of sampling."""
    part = chunk.part
    said = [part.paths, part.temperature, TOKEN_CAP, chunk.seeds, [p.question for p in chunk.problems]]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
    return folder / f"{part.name.replace(' ', '-')}-{part.seed}-{digest}.pt"


def load(path: Path) -> list[ProblemRecord] | None:
    """None where there is nothing yet, or what another version left."""
    if not path.is_file():
        return None
    try:
        return records.load(path)
    except records.RecordsError:
        return None


save = records.save
