"""What the gate sees of a path: one vector per step boundary.

One definition for the engine, which meets tokens one step at a time, and for training, which holds whole
recorded paths: training replays its recording through the same `PathFeatures`, so both give the same
numbers.

A vector is [hidden state of the boundary token | mean hidden state of the tokens of the step | statistics].
Hidden states are the model's output after its final norm, at the position of the token itself. Log-
probability, entropy and confidence belong to the distribution the token was drawn from (at temperature 1,
before any filter). Statistics tell a request's paths apart where hidden states mostly tell how hard the
request is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from controllable_inference.core.agreement import AGREEMENT, NEUTRAL, Agreement
from controllable_inference.core.answer import normalise
from controllable_inference.errors import ControlConfigError

CONFIDENCE_TOP_K = 5

STATISTICS = (
    "path_logprob",  # mean over the path so far
    "path_entropy",
    "path_confidence",
    "step_logprob",  # mean over the step that ends at this boundary
    "step_entropy",
    "step_confidence",
    "step_logprob_min",
    "lowest_step_confidence",  # over all steps so far
    "progress_tokens",  # ln(1 + tokens) / 8
    "progress_steps",  # ln(1 + steps) / 8
    "relative_logprob",  # path_logprob - mean path_logprob of the request's paths at the same moment
    "relative_confidence",
    "rank",  # share of the request's other paths with a lower path_logprob, ties half; 0.5 when alone
    *AGREEMENT,
)
RANK = STATISTICS.index("rank")
_OWN = STATISTICS[: STATISTICS.index("relative_logprob")]
COMPARED = STATISTICS[len(_OWN) :]
"""Those that compare a path with the others of its request."""
GATE_FEATURES = ("boundary_hidden[*]", "step_mean_hidden[*]", *_OWN)
"""What a gate is trained on: the path by itself. The other statistics compare it with those beside it, which
is something else for two paths than for sixteen, and a score has to mean the same however many run.
"""


def feature_dim(model_hidden_size: int) -> int:
    return 2 * model_hidden_size + len(STATISTICS)


def feature_names() -> list[str]:
    """What a vector holds, in order. A name that ends in `[*]` stands for one column a hidden dimension."""
    return ["boundary_hidden[*]", "step_mean_hidden[*]", *STATISTICS]


def select(names: Sequence[str], model_hidden_size: int) -> list[int]:
    """Columns of a feature vector that go by these of `feature_names`, in their order; all if none is named.

    Raises ControlConfigError for names that this version does not know.
    """
    columns: dict[str, list[int]] = {}
    at = 0
    for name in feature_names():
        size = model_hidden_size if name.endswith("[*]") else 1
        columns[name] = list(range(at, at := at + size))
    if unknown := [name for name in names if name not in columns]:
        raise ControlConfigError(
            f"this version has no features named {', '.join(unknown)}; it has {', '.join(columns)}. Train "
            "the gate again, or use the version that it was trained with"
        )
    return [column for name in names or columns for column in columns[name]]


def compares(names: Sequence[str]) -> bool:
    """Whether one of these (all, if none is named) tells of a path beside the others of its request."""
    return not names or not set(names).isdisjoint(COMPARED)


class TokenStatistics(NamedTuple):
    """Natural-log statistics of drawn tokens, each (rows,).

    confidence is DeepConf's token confidence: minus the mean log-probability of the CONFIDENCE_TOP_K
    likeliest tokens; high where the model is sure (the others are then very unlikely).
    """

    logprob: Tensor
    entropy: Tensor
    confidence: Tensor


def token_statistics(log_probs: Tensor, tokens: Tensor) -> TokenStatistics:
    """log_probs (rows, vocabulary): log-softmax of the raw logits; tokens (rows,) -> statistics of each
    token.
    """
    logprob = log_probs.gather(-1, tokens[:, None]).squeeze(-1)
    # In place, as memory for one more (rows, vocabulary) costs more than what is computed in it. A token that
    # can't be drawn has 0 * -inf, which is no number, and counts as 0.
    weighted = log_probs.exp().mul_(log_probs).nan_to_num_(nan=0.0)
    entropy = -weighted.sum(-1)
    top = log_probs.topk(min(CONFIDENCE_TOP_K, log_probs.shape[-1]), dim=-1).values
    confidence = -top.clamp_min(torch.finfo(log_probs.dtype).min).mean(-1)
    return TokenStatistics(logprob, entropy, confidence)


class PathFeatures:
    """Running statistics of many paths, one slot each; slots of one request are compared with each other.

    Sums are kept in float64, so that neither batch order nor length moves a feature.
    """

    def __init__(self, slots: int, hidden_size: int, device: torch.device | str = "cpu") -> None:
        self.hidden_size = hidden_size
        self.device = torch.device(device)
        # Of the path, then of its running step: sums of log-probability, entropy and confidence; tokens.
        self.sums = torch.zeros(slots, 8, dtype=torch.float64, device=device)
        # Lowest log-probability in the running step, lowest confidence of a step.
        self.lows = torch.full((slots, 2), math.inf, dtype=torch.float64, device=device)
        self.steps = torch.zeros(slots, dtype=torch.float64, device=device)
        self.step_hidden = torch.zeros(slots, hidden_size, device=device)

    def grow(self, slots: int) -> None:
        """Make room for `slots` paths in all; what is there stays."""
        more = PathFeatures(slots - len(self.sums), self.hidden_size, self.device)
        for name, state in vars(self).items():
            if isinstance(state, Tensor):
                setattr(self, name, torch.cat((state, getattr(more, name))))

    def reset(self, slots: Sequence[int]) -> None:
        """Forget what these slots held, for new paths."""
        at = torch.tensor(slots, dtype=torch.long, device=self.device)
        self.sums[at] = 0
        self.lows[at] = math.inf
        self.steps[at] = 0
        self.step_hidden[at] = 0

    def update(self, slots: Tensor, hidden: Tensor, statistics: Tensor) -> None:
        """Account one token for each of `slots` (n,), distinct.

        hidden (n, hidden_size): state at that token. statistics (n, 3): its logprob, entropy, confidence.
        """
        token = pad(statistics.to(torch.float64), (0, 1), value=1.0)
        self.sums.index_add_(0, slots, torch.cat((token, token), dim=1))
        lows = self.lows[:, 0]
        lows[slots] = torch.minimum(lows[slots], token[:, 0])
        self.step_hidden.index_add_(0, slots, hidden.to(torch.float32))

    def boundary(
        self,
        slots: Sequence[int],
        hidden: Tensor,
        groups: Sequence[Sequence[int]],
        agreement: Sequence[Sequence[float]],
    ) -> Tensor:
        """Feature vectors of paths whose newest token ended a step; the next step begins with this call.

        hidden (n, hidden_size): states at the boundary tokens. groups: for each slot, the slots of the paths
        that it is compared with, itself included: all of its request, or it alone. Paths without an accounted
        token do not count; ended ones count as they were when they ended. agreement: for each slot, what
        `Agreement` measures.
        Returns (n, feature_dim(hidden_size)) float32.
        """
        at = torch.tensor(slots, dtype=torch.long, device=self.device)
        sums, lows = self.sums[at], self.lows[at]
        tokens, step_tokens = sums[:, 3:4], sums[:, 7:8]
        path, step = sums[:, :3] / tokens, sums[:, 4:7] / step_tokens
        lows[:, 1] = torch.minimum(lows[:, 1], step[:, 2])
        steps = self.steps[at] + 1
        statistics = torch.cat(
            (
                path,
                step,
                lows,
                torch.log1p(tokens) / 8,
                torch.log1p(steps[:, None]) / 8,
                self._relative(path, groups),
                torch.tensor(agreement, dtype=torch.float64, device=self.device),
            ),
            dim=1,
        )
        step_mean = self.step_hidden[at] / step_tokens.to(torch.float32)
        self._begin_step(at, sums, lows, steps)
        return torch.cat((hidden.to(torch.float32), step_mean, statistics.to(torch.float32)), dim=1)

    def _begin_step(self, at: Tensor, sums: Tensor, lows: Tensor, steps: Tensor) -> None:
        sums[:, 4:] = 0
        lows[:, 0] = math.inf
        self.sums[at], self.lows[at], self.steps[at] = sums, lows, steps
        self.step_hidden[at] = 0

    def _relative(self, path: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
        """(n, 3): relative log-probability, relative confidence, rank."""
        size = max(map(len, groups))
        if size == 1:
            return path.new_tensor((0.0, 0.0, NEUTRAL)).expand(len(path), 3)
        padded = torch.tensor([[*g, *[g[0]] * (size - len(g))] for g in groups], device=self.device)
        real = torch.tensor([[True] * len(g) + [False] * (size - len(g)) for g in groups], device=self.device)
        sums = self.sums[padded]
        real &= sums[..., 3] > 0
        means = sums[..., :3] / sums[..., 3:4].clamp_min(1)  # (n, size, 3)
        count = real.sum(1)
        of_group = (means * real[..., None]).sum(1) / count[:, None]
        own = path[:, 0, None]
        lower = ((means[..., 0] < own) & real).sum(1)
        equal = ((means[..., 0] == own) & real).sum(1) - 1
        others = count - 1
        rank = torch.where(others > 0, (lower + 0.5 * equal) / others.clamp_min(1), 0.5)
        return torch.stack((path[:, 0] - of_group[:, 0], path[:, 2] - of_group[:, 2], rank), dim=1)


@dataclass(frozen=True)
class RecordedPath:
    """One whole generated path, as recorded for training. T = its tokens, the one that ended it included.

    hidden (T, hidden_size): state at each token. statistics (T, 3): its logprob, entropy, confidence.
    boundaries: how many tokens had been generated at the end of each step; steps: the text of each. answer:
    what the path came to, None for nothing.
    """

    hidden: Tensor
    statistics: Tensor
    boundaries: Sequence[int]
    steps: Sequence[str]
    answer: str | None


def features_of_recording(paths: Sequence[RecordedPath]) -> list[Tensor]:
    """Replay all paths of one request side by side, as the engine ran them (one token each a step).

    The token that ends a path is left out, for the engine never computes it.
    Returns for each path (its boundaries before that token, feature_dim(hidden_size)).
    """
    hidden_size = paths[0].hidden.shape[1]
    state = PathFeatures(len(paths), hidden_size)
    lengths = [len(path.hidden) - 1 for path in paths]
    ends = [dict(zip(path.boundaries, path.steps, strict=True)) for path in paths]
    agreement = Agreement()
    found: list[list[Tensor]] = [[] for _ in paths]
    for n in range(1, max(lengths) + 1):
        for path in paths:
            if len(path.hidden) == n and path.answer is not None:
                agreement.finish(normalise(path.answer))
        alive = [i for i, length in enumerate(lengths) if length >= n]
        state.update(
            torch.tensor(alive),
            torch.stack([paths[i].hidden[n - 1] for i in alive]),
            torch.stack([paths[i].statistics[n - 1] for i in alive]),
        )
        due = [i for i in alive if n in ends[i]]
        for i in due:
            agreement.enter(i, ends[i][n])
        if due:
            hidden = torch.stack([paths[i].hidden[n - 1] for i in due])
            agreed = [agreement.measure(i, len(paths) - 1) for i in due]
            vectors = state.boundary(due, hidden, [range(len(paths))] * len(due), agreed)
            for i, vector in zip(due, vectors, strict=True):
                found[i].append(vector)
    return [torch.stack(f) if f else torch.zeros(0, feature_dim(hidden_size)) for f in found]
