"""The policy: go on, drop the worst path, stop and vote, or start more paths?

A small net looks at how the vote stands and chooses one of ACTIONS. It is trained by `training.policy`, which
simulates many requests at once and computes the same state in columns (`training.policy_env`). What may never
happen is no matter of training: `decide` keeps to the plan whatever the net wants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor, nn

from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.gate import load_weights
from controllable_inference.core.views import (
    Decision,
    PathView,
    Plan,
    PromptView,
    Prune,
    RequestView,
    Spawn,
    Stop,
)

ACTIONS = ("continue", "prune", "stop", "spawn_1", "spawn_2", "spawn_4", "spawn_8")
SPAWNED = {"spawn_1": 1, "spawn_2": 2, "spawn_4": 4, "spawn_8": 8}
"""How many paths an action starts, as far as the plan allows."""

STATE = (
    # Finished paths. The leader is the answer with most weight, a path's weight its chance of being right.
    "voters",  # paths with an answer / 8
    "answers",  # different answers / 4
    "leader_votes",  # / 8
    "leader_share",  # of the voters
    "vote_margin",  # leader's votes less those of the answer with most votes beside it, / 8
    "lead_probability",  # that it stays ahead of that answer (Adaptive-Consistency's criterion)
    "leader_weight",  # / 8
    "weight_share",  # of all weight
    "weight_margin",  # leader's weight less the greatest beside it, / 8
    "leader_odds",  # sum of ln(p / (1 - p)) over its paths, / 8
    "odds_margin",  # less the greatest such sum beside it, / 8
    "leader_best",  # highest p of its paths
    "leader_mean",
    "others_best",  # highest p of a path with another answer
    "finished_mean",
    # Running paths, as of their latest step boundaries.
    "running",  # / 8
    "unscored",  # running before their first boundary, / 8
    "running_best",
    "running_mean",
    "running_worst",
    "progress",  # tokens of the longest / mean tokens of the finished, 2 at most
    # What there is to spend.
    "started",  # / 16
    "pruned",  # / 16
    "left",  # paths that may still be started, / 16
    "room",  # of these, how many at once now, / 8
    "tokens",  # of all paths / (4 * token cap)
    "coefficient",  # / 2
    "time_left",  # share of the deadline; 1 without one
)
"""What the policy sees of a request, each about within [-2, 2]; 0 where there is nothing to measure.

Nothing in it compares running paths with each other: those figures depend on how many were started, and would
be other ones in training, where all paths of a recording ran side by side.
"""

CLIP = 0.99
"""Probabilities are cut to [1 - CLIP, CLIP] before their odds are taken."""

Weight = Callable[[PathView], float]


@dataclass(frozen=True)
class PolicyPlan(Plan):
    """A plan whose request may start more paths later: `total` in all, `max_paths` at once.

    deadline: the request's own, in seconds.
    """

    total: int = 1
    deadline: float | None = None

    @property
    def is_single(self) -> bool:
        return self.paths == self.total == 1


@dataclass(frozen=True)
class Outlay:
    """How a request under a policy begins. start_paths: started at once at coefficient 1; at_once: most that
    may run side by side. checkpoints: step numbers at whose end the policy is asked, besides at each path's
    end: to ask it more often costs more than it is worth.
    """

    start_paths: float = 2.0
    at_once: int = 8
    checkpoints: tuple[int, ...] = ()

    def lay_out(self, prompt: PromptView, rule: BudgetRule, predicted: float) -> PolicyPlan:
        """What `allocate` grants, and how much of it at once.

        A client's coefficient is a limit. A predicted one is a guess: above 1 it starts more paths at once,
        for fewer waves where many will be needed; below 1 it may do without thinking, but takes no paths
        away, as the policy sees by itself when few are enough.
        """
        plan = allocate(prompt, rule, predicted)
        most = plan if plan.mode == "fast" else allocate(prompt, rule, max(predicted, 1.0))
        at_once = min(self.at_once, most.paths)
        return PolicyPlan(
            paths=min(max(1, round(self.start_paths * most.coefficient)), at_once),
            token_cap=most.token_cap,
            mode=most.mode,
            coefficient=plan.coefficient,
            limited_by=most.limited_by,
            max_paths=at_once,
            thinking_cap=most.thinking_cap,
            total=most.paths,
            deadline=prompt.budget.deadline,
        )


@dataclass(frozen=True)
class Guard:
    """What pruning never does: leave fewer than `min_keep` paths that live or have finished, or take one that
    has not ended `min_steps` steps.
    """

    min_keep: int
    min_steps: int

    def spare(self, request: RequestView) -> int:
        """How many paths may go."""
        return max(0, len(request.running) + len(request.finished) - self.min_keep)


def left_to_start(request: RequestView) -> int:
    """Paths that the plan still allows the request to start, now or later."""
    plan = request.plan
    return max(0, (plan.total if isinstance(plan, PolicyPlan) else plan.most_paths) - len(request.paths))


def room_to_start(request: RequestView, running: int) -> int:
    """Paths that it may start now, beside `running` others.

    At a boundary nothing is started while something runs: a path may end in the same step of the engine,
    which then asks again before it has started what it was told to.
    """
    if running and any(path.at_boundary for path in request.paths):
        return 0
    return max(0, min(left_to_start(request), request.plan.most_paths - running))


def state_of(request: RequestView, weight: Weight) -> list[float]:
    """STATE of one request. weight: a path's chance of being right."""
    votes: dict[str, int] = {}
    weights: dict[str, float] = {}
    odds: dict[str, float] = {}
    best: dict[str, float] = {}
    leader, leading = "", (-1.0, 0.0, 0)
    tokens = voters = finished = finished_tokens = pruned = 0
    all_weight = 0.0
    running = longest = 0
    scored: list[float] = []
    for path in request.paths:
        tokens += path.tokens
        if path.state == "running":
            running += 1
            longest = max(longest, path.tokens)
            if path.score is not None:
                scored.append(weight(path))
        elif path.state == "kept":
            finished += 1
            finished_tokens += path.tokens
            if (key := path.key) is not None:
                p = weight(path)
                voters += 1
                all_weight += p
                votes[key] = votes.get(key, 0) + 1
                weights[key] = weights.get(key, 0.0) + p
                odds[key] = odds.get(key, 0.0) + log_odds(p)
                best[key] = max(best.get(key, 0.0), p)
        else:
            pruned += 1
    for path in request.paths:
        if path.state == "kept" and path.key is not None:
            standing = (weights[path.key], path.score or 0.0, -path.index)
            if standing > leading:
                leader, leading = path.key, standing
    most_votes = votes.get(leader, 0)
    second = max((n for key, n in votes.items() if key != leader), default=0)
    leader_weight, leader_odds = weights.get(leader, 0.0), odds.get(leader, 0.0)
    plan = request.plan
    left = left_to_start(request)
    mean_tokens = finished_tokens / finished if finished else 0.0
    deadline = plan.deadline if isinstance(plan, PolicyPlan) else None
    at_work = len(scored)
    return [
        voters / 8,
        len(votes) / 4,
        most_votes / 8,
        most_votes / voters if voters else 0.0,
        (most_votes - second) / 8,
        lead(most_votes, second) if voters else 0.0,
        leader_weight / 8,
        leader_weight / all_weight if all_weight else 0.0,
        (leader_weight - max((w for key, w in weights.items() if key != leader), default=0.0)) / 8,
        leader_odds / 8,
        (leader_odds - max((o for key, o in odds.items() if key != leader), default=0.0)) / 8,
        best.get(leader, 0.0),
        leader_weight / most_votes if most_votes else 0.0,
        max((p for key, p in best.items() if key != leader), default=0.0),
        all_weight / voters if voters else 0.0,
        running / 8,
        (running - at_work) / 8,
        max(scored, default=0.0),
        sum(scored) / at_work if at_work else 0.0,
        min(scored, default=0.0),
        min(longest / mean_tokens, 2.0) if finished else 0.0,
        len(request.paths) / 16,
        pruned / 16,
        left / 16,
        room_to_start(request, running) / 8,
        tokens / (4 * plan.token_cap),
        plan.coefficient / 2,
        1.0 if request.time_left is None or not deadline else min(1.0, request.time_left / deadline),
    ]


@lru_cache(maxsize=4096)
def lead(first: int, second: int) -> float:
    """P(p > 1/2) for p ~ Beta(first + 1, second + 1), in closed form: how sure it is that the order of two
    counts of votes will stay (Aggarwal et al. 2023, arXiv:2305.11860).
    """
    n = first + second + 1
    return sum(math.comb(n, k) for k in range(first + 1)) / 2**n


def log_odds(p: float) -> float:
    """ln(p / (1 - p)), of p cut to [1 - CLIP, CLIP]."""
    p = min(max(p, 1 - CLIP), CLIP)
    return math.log(p / (1 - p))


class PolicyNet(nn.Module):
    """Linear, tanh, Linear, tanh, Linear: from a state to one number an action, of which the highest wins."""

    def __init__(self, state_dim: int, hidden_dim: int = 32, actions: int = len(ACTIONS)) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.net = nn.Sequential(
            nn.Linear(state_dim, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.Tanh(),
            nn.Linear(hidden_dim, actions),
        )

    def forward(self, state: Tensor) -> Tensor:
        """state (batch, state_dim) -> (batch, actions)."""
        return self.net(state)

    def save(self, path: Path) -> None:
        save_file(self.state_dict(), path)

    @classmethod
    def load(cls, path: Path, state_dim: int, hidden_dim: int, actions: int) -> PolicyNet:
        """Raises ControlConfigError when the file is missing, of another size, or holds numbers that are
        none.
        """
        net = cls(state_dim, hidden_dim, actions)
        load_weights(net, path, f"a policy that chooses among {actions} actions by {state_dim} numbers")
        return net.eval()


class Policy:
    """A trained net, the states that it reads, and the plan that it starts from.

    names: of STATE, in the order of the net's inputs. actions: of ACTIONS, in that of its outputs.
    """

    def __init__(
        self,
        net: PolicyNet,
        outlay: Outlay,
        names: Sequence[str] = STATE,
        actions: Sequence[str] = ACTIONS,
    ) -> None:
        self.net = net
        self.outlay = outlay
        self.names = tuple(names)
        self.actions = tuple(actions)
        self._columns = None if self.names == STATE else [STATE.index(name) for name in self.names]
        self._numbers = np.array([ACTIONS.index(action) for action in self.actions])
        # One state at a time: for matrices this small a call into torch costs more than it computes.
        self._layers = [
            (layer.weight.detach().cpu().double().numpy(), layer.bias.detach().cpu().double().numpy())
            for layer in net.net
            if isinstance(layer, nn.Linear)
        ]

    def is_asked(self, request: RequestView) -> bool:
        """Whether this is a moment to ask: a path has ended, one is at a checkpoint, or nothing runs."""
        steps = [path.steps for path in request.paths if path.at_boundary]
        if not steps or any(step in self.outlay.checkpoints for step in steps):
            return True
        return not any(path.state == "running" for path in request.paths)

    def choose(self, state: Sequence[float]) -> str:
        """The action for a state, the first of equals."""
        x = np.array(state if self._columns is None else [state[at] for at in self._columns])
        for weight, bias in self._layers[:-1]:
            x = np.tanh(weight @ x + bias)
        weight, bias = self._layers[-1]
        return self.actions[int((weight @ x + bias).argmax())]

    def choose_all(self, states: np.ndarray) -> np.ndarray:
        """states (requests, len(STATE)) -> (requests,): numbers of ACTIONS, as `choose` would name them."""
        x = states if self._columns is None else states[:, self._columns]
        for weight, bias in self._layers[:-1]:
            x = np.tanh(x @ weight.T + bias)
        weight, bias = self._layers[-1]
        return self._numbers[(x @ weight.T + bias).argmax(1)]

    def decide(self, request: RequestView, weight: Weight, guard: Guard | None) -> list[Decision]:
        """What the net wants, as far as it can be done: what can't means to go on, and with nothing running
        to stop. No vote is held while there are no voters and paths can still bring some.

        guard: of pruning, None where nothing may be pruned.
        """
        if not self.is_asked(request) or not (request.running or left_to_start(request)):
            return []
        return obey(self.choose(state_of(request, weight)), request, guard)


def obey(action: str, request: RequestView, guard: Guard | None) -> list[Decision]:
    """The decisions that an action comes to."""
    running = request.running
    room = room_to_start(request, len(running))
    voters = any(path.state == "kept" and path.key is not None for path in request.paths)
    if action in SPAWNED and room:
        return [Spawn(min(SPAWNED[action], room))]
    if not running and not voters and room:
        return [Spawn(1)]
    if (action == "stop" and voters) or not running:
        return [Stop("policy", f"{action} with {len(request.finished)} finished, {len(running)} running")]
    if action == "prune" and guard and len(running) > 1 and guard.spare(request):
        scored = [
            (path.score, path.index)
            for path in running
            if path.score is not None and path.steps >= guard.min_steps
        ]
        if scored:
            score, index = min(scored)
            return [Prune(index, "policy", f"{score:.2f}, the lowest of {len(scored)}")]
    return []


def without(request: RequestView, decisions: Sequence[Decision]) -> RequestView:
    """The request once these decisions have pruned what they prune."""
    pruned = {decision.path for decision in decisions if isinstance(decision, Prune)}
    if not pruned:
        return request
    paths = [replace(path, state="pruned") if path.index in pruned else path for path in request.paths]
    return replace(request, paths=tuple(paths))
