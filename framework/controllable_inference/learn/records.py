"""Whole generated paths of a problem, kept so that controllers can be replayed and gates be trained."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controllable_inference.core.features import STATISTICS
from controllable_inference.errors import ControllableError


class RecordsError(ControllableError):
    """A file of records doesn't fit this version."""


NO_KEY = ""
"""In place of a path's key, in what older versions have recorded."""


@dataclass(frozen=True)
class PathRecord:
    """One path that nobody interrupted.

    tokens: how many it took, its end included. boundaries: tokens generated at the end of each step.
    features (steps, feature_dim): the path at each boundary; `with_columns` leaves what a gate reads of it.
    right: the verifier's word. text: all that it wrote. key: by which equal answers meet, as the engine had
    it; None for an answer that can't be compared, NO_KEY in recordings of before there were keys.
    """

    tokens: int
    boundaries: list[int]
    features: Tensor
    answer: str | None
    right: bool
    text: str = ""
    key: str | None = NO_KEY


@dataclass(frozen=True)
class ProblemRecord:
    """A problem's paths, in the order the engine numbers them.

    prompt_hidden (tokens, hidden size): final hidden states. fast: paths answered without thinking.
    """

    family: str
    level: int
    question: str
    prompt_hidden: Tensor
    paths: list[PathRecord]
    fast: list[PathRecord]

    @property
    def pass_rate(self) -> float:
        """Share of thinking paths that end right."""
        return sum(path.right for path in self.paths) / len(self.paths)

    @property
    def fast_pass_rate(self) -> float:
        """Share of fast paths that end right; 0 without any, as of a model that has no thinking to skip."""
        return sum(path.right for path in self.fast) / max(1, len(self.fast))


def with_columns(records: Sequence[ProblemRecord], columns: Sequence[int]) -> list[ProblemRecord]:
    """The same records with only these columns of their features, in this order (`features.select`)."""

    def cut(paths: list[PathRecord]) -> list[PathRecord]:
        return [replace(path, features=path.features[:, list(columns)]) for path in paths]

    return [replace(record, paths=cut(record.paths), fast=cut(record.fast)) for record in records]


def save(records: list[ProblemRecord], path: Path) -> None:
    """Write records in a form that `torch.load(weights_only=True)` reads, in one piece or not at all."""
    fresh = path.with_suffix(".new")
    torch.save({"statistics": STATISTICS, "problems": [asdict(record) for record in records]}, fresh)
    fresh.replace(path)


def load(path: Path) -> list[ProblemRecord]:
    """Read what `save` wrote. Raises RecordsError for what another version has written."""
    plain = torch.load(path, weights_only=True)
    if not isinstance(plain, dict) or tuple(plain["statistics"]) != STATISTICS:
        raise RecordsError(
            f"{path} was recorded by a version that saw other statistics of paths; delete it and record anew"
        )
    return [_problem(problem) for problem in plain["problems"]]


def _problem(plain: dict[str, Any]) -> ProblemRecord:
    paths = {name: [PathRecord(**path) for path in plain[name]] for name in ("paths", "fast")}
    return ProblemRecord(**{**plain, **paths})
