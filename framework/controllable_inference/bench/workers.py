"""Records and replays in as many processes as there are cores: one thread each, for a small model gains
nothing from a second one.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig
from transformers.utils.logging import disable_progress_bar

from controllable_inference.bench import archive, sweep
from controllable_inference.bench.flops import ModelShape
from controllable_inference.bench.measure import Measured, measure
from controllable_inference.bench.problem_sets import GREEDY, TOKEN_CAP, Chunk
from controllable_inference.bench.sweep import Control
from controllable_inference.learn.problems import Cell, is_correct
from controllable_inference.learn.recording import record
from controllable_inference.model import ControllableInference

FAST_SEEDS = 2**40  # far from the seeds of any thinking path


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Job:
    """What all chunks of one evaluation have in common. cache: folder of this model's recordings. lookup:
    coefficients by family and level, once they are known.
    """

    model: Path
    cache: Path
    lookup: Mapping[Cell, float] | None = None


class Worker:
    """A model, ready to record; the model is loaded when there is something to sample."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.open = ExitStack()
        self._model: ControllableInference | None = None
        self._control: tuple[Control, ModelShape] | None = None

    @property
    def model(self) -> ControllableInference:
        if self._model is None:
            self._model = self.open.enter_context(ControllableInference.from_pretrained(self.job.model))
        return self._model

    @property
    def control(self) -> tuple[Control, ModelShape]:
        if self._control is None:
            self._control = control_of(self.job.model)
        return self._control

    def do(self, chunk: Chunk) -> Measured:
        """Record the chunk, unless its recording is there, and replay everything on it."""
        file = archive.file_of(self.job.cache, chunk)
        records = archive.load(file)
        if records is None:
            part = chunk.part
            records = record(
                self.model.engine,
                chunk.problems,
                chunk.seeds,
                paths=part.paths,
                token_cap=TOKEN_CAP,
                temperature=part.temperature,
                fast_seeds=[] if part.name == GREEDY else [seed + FAST_SEEDS for seed in chunk.seeds],
                judge=is_correct,
            )
            archive.save(records, file)
        control, shape = self.control
        if chunk.part.name == GREEDY:
            return measure(records, [sweep.greedy_group(TOKEN_CAP)], control, shape)
        paths = chunk.part.paths
        groups = [
            *sweep.groups(control, TOKEN_CAP, paths),
            *sweep.lookup_groups(control, self.job.lookup, records),
            sweep.oracle_group(records, TOKEN_CAP, paths),
        ]
        return measure(records, groups, control, shape)


def control_of(folder: Path) -> tuple[Control, ModelShape]:
    """What a checkpoint ships with, without loading its weights."""
    config = AutoConfig.from_pretrained(folder)
    return Control.load(folder, config.hidden_size, thinks=True), ModelShape.of(config)


_worker: Worker | None = None


def _begin(job: Job) -> None:
    global _worker
    torch.set_num_threads(1)
    disable_progress_bar()
    _worker = Worker(job)


def _do(chunk: Chunk) -> Measured:
    assert _worker is not None
    return _worker.do(chunk)


def measure_all(job: Job, chunks: Sequence[Chunk], processes: int) -> Iterator[tuple[Chunk, Measured]]:
    """Each chunk with what was measured, as they are done."""
    job.cache.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        torch.set_num_threads(1)
        worker = Worker(job)
        with worker.open:
            for chunk in chunks:
                yield chunk, worker.do(chunk)
        return
    # a forked process would inherit torch's threads in whatever state they are
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (job,)) as pool:
        futures = {pool.submit(_do, chunk): chunk for chunk in chunks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
