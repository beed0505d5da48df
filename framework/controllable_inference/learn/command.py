"""The command core of `controllable-inference train`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from controllable_inference.core.config import ControlConfig
from controllable_inference.errors import ControllableError

try:
    from controllable_inference.learn import early_exit, pipeline
    from controllable_inference.learn import task as tasks
    from controllable_inference.learn.problems import CONTROL_FAMILIES, cells
    from controllable_inference.learn.subject import find_model
except ModuleNotFoundError as error:
    if error.name != "reasoning_gym":
        raise
    raise ControllableError(
        "training takes packages that are not installed: in the repository, pip install '.[training]'"
    ) from error
from controllable_inference.learn.rollouts import Sampling


def train(
    parts: Sequence[str],
    model: str,
    *,
    task: str,
    problems: Path | None,
    problems_per_split: int | None,
    paths: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    recall: float,
    tolerant: bool,
    tested: bool,
    output: Path | None,
    work: Path,
    concurrency: int,
    threads: int | None,
) -> ControlConfig:
    """Train these parts of a model's control; the arguments are the command's options."""
    transformers_logging.disable_progress_bar()  # loading takes a moment, and a log is no place for bars
    if threads is not None:
        torch.set_num_threads(threads)
    return pipeline.train(
        find_model(model, output),
        find_task(task, problems, problems_per_split),
        [pipeline.Part(part) for part in parts],
        output=output,
        work=work,
        options=pipeline.TrainingOptions(
            sampling=Sampling(paths=paths, token_cap=max_tokens, temperature=temperature, seed=seed),
            problems=problems_per_split,
            tolerant=tolerant,
            recall=recall,
            tested=tested,
            concurrency=concurrency,
        ),
    )


def calibrate_early_exit(
    model: str,
    *,
    task: str,
    problems: Path | None,
    most: int | None,
    every: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    tolerant: bool,
    output: Path | None,
    concurrency: int,
    threads: int | None,
) -> ControlConfig:
    """Find out what early exits cost a model; the arguments are the command's options."""
    transformers_logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    return early_exit.calibrate(
        find_model(model, output),
        find_task(task, problems, most),
        most=most,
        every=every,
        temperature=temperature,
        token_cap=max_tokens,
        seed=seed,
        tolerant=tolerant,
        output=output,
        concurrency=concurrency,
    )


def find_task(name: str, problems: Path | None, problems_per_split: int | None) -> tasks.Task:
    """The task that the command's options name. Raises TaskError."""
    if problems is not None:
        if name != tasks.SUITE:
            raise tasks.TaskError(f"--task {name} and --problems {problems} are two tasks; leave one out")
        return tasks.from_jsonl(problems)
    per_cell = tasks.PER_CELL
    if problems_per_split is not None:
        most = math.ceil(problems_per_split / len(cells(CONTROL_FAMILIES)))
        per_cell = dict.fromkeys(per_cell, most)
    return tasks.find(name, per_cell)
