"""Recorded problems as an environment for a policy: many requests at once, as columns of numbers.

Does what `evaluation.replay` does with the shipped controller, at the same moments and in the same order, for
a thousand requests in the time that replay takes for one. Recorded paths come in another order in every
episode, so that a few recorded paths make many episodes. A policy is asked where the controller would ask it;
everything between two questions (the gate's pruning, paths that end, what is settled) is played in `step`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from controllable_inference.control.controller import GatedController
from controllable_inference.control.features import STATISTICS
from controllable_inference.control.policy import ACTIONS, CLIP, SPAWNED, STATE, PolicyPlan, lead
from controllable_inference.control.views import PathView, PromptView
from controllable_inference.engine.request import RequestBudget, SamplingParams
from controllable_inference.evaluation.records import ProblemRecord
from controllable_inference.evaluation.replay import prepare

NEVER = 1 << 30
_MET, _AGREEMENT = STATISTICS.index("answer_agreement"), STATISTICS.index("path_agreement")
_NOT_STARTED, _RUNNING, _KEPT, _PRUNED, _STOPPED = range(5)
_MOVING, _PATH_ENDED, _STEPPED, _OVER = range(4)
"""Where a request is in a moment: before it, asked as paths have ended, asked as steps have ended, over."""
_CONTINUE, _PRUNE, _STOP = (ACTIONS.index(name) for name in ("continue", "prune", "stop"))
_SPAWN = np.array([SPAWNED.get(name, 0) for name in ACTIONS])
Choose = Callable[[np.ndarray], np.ndarray]
"""States (requests, len(STATE)) to numbers of ACTIONS (requests,)."""


@dataclass(frozen=True)
class Reward:
    """R = α·accuracy + β·(1 − compute_cost) − γ·latency, the article's.

    accuracy is 1 for a right answer, else 0. compute_cost: path-tokens by those of full voting over the same
    paths. latency: the longest chain of paths by the longest path, both in tokens, 1 at most.

    α and the rest are weighed against each other for right and wrong answers alike, so a hopeless problem is
    best given up at once: with cost and latency each between 0 and 1 an episode gains up to β + γ by being
    cheap, and more compute is only worth its while where it raises the chance of being right by more than
    (β·Δcost + γ·Δlatency) / α. `only_if_right` counts cost and latency where the answer is right only: then
    being cheap and wrong earns nothing, the policy never gives up to save, and compute goes to hard problems
    until their paths are used up, for a wrong answer has cost nothing.
    """

    alpha: float = 0.6
    beta: float = 0.3
    gamma: float = 0.1
    only_if_right: bool = False

    def of(self, right: np.ndarray, cost: np.ndarray, latency: np.ndarray) -> np.ndarray:
        """All of one shape."""
        spent = self.beta * (1 - np.clip(cost, 0, 1)) - self.gamma * np.clip(latency, 0, 1)
        return self.alpha * right + (spent * right if self.only_if_right else spent)


class Tables:
    """All that recordings and a controller say of paths, looked up by problem n, path p and step s.

    Problems that the controller answers without thinking have no paths to decide on: `slow` holds the numbers
    of the others. Index s is the number of steps that a path has ended; at 0 there is no score yet.
    """

    def __init__(self, records: Sequence[ProblemRecord], controller: GatedController) -> None:
        policy = controller.policy
        if policy is None:
            raise ValueError("a controller without a policy asks nothing")
        self.records = list(records)
        self.plans = [_plan(controller, record) for record in records]
        prepared = [prepare(record, controller.score) for record in records]
        paths = [
            one.fast if plan.mode == "fast" else one.slow
            for one, plan in zip(prepared, self.plans, strict=True)
        ]
        most = max(map(len, paths))
        steps = max(len(path.record.boundaries) for group in paths for path in group) + 1
        shape = (len(records), most)
        self.present = np.zeros(shape, dtype=bool)
        self.length = np.zeros(shape, dtype=np.int64)
        self.right = np.zeros(shape, dtype=bool)
        self.key = np.full(shape, -1)
        self.ends = np.full((*shape, steps), NEVER, dtype=np.int32)  # tokens at the end of step s + 1
        self.score = np.zeros((*shape, steps))
        self.weight = np.zeros((*shape, steps))
        self.met = np.zeros((*shape, steps))
        self.agreement = np.zeros((*shape, steps))
        for n, (group, plan) in enumerate(zip(paths, self.plans, strict=True)):
            keys: dict[str, int] = {}
            for p, path in enumerate(group):
                tokens, cap = path.record.tokens, plan.token_cap
                natural = tokens < cap or (tokens == cap and path.key is not None)
                self.present[n, p] = True
                self.length[n, p] = min(tokens, cap)
                self.right[n, p] = path.record.right
                if natural and path.key is not None:
                    self.key[n, p] = keys.setdefault(path.key, len(keys))
                ends = [end for end in path.record.boundaries if end < self.length[n, p]]
                self.ends[n, p, : len(ends)] = ends
                self.weight[n, p, 0] = controller.weigh(PathView(p, "running", 0, 0, None))
                for s, score in enumerate(path.scores[: len(ends)], start=1):
                    self.score[n, p, s] = score
                    self.weight[n, p, s] = controller.weigh(PathView(p, "running", 0, s, score))
                    if path.statistics:
                        self.met[n, p, s] = path.statistics[s - 1][_MET]
                        self.agreement[n, p, s] = path.statistics[s - 1][_AGREEMENT]
        self.full = np.where(self.present, self.length, 0).sum(1)
        self.longest = self.length.max(1)
        self.start = np.array([plan.paths for plan in self.plans])
        self.at_once = np.array([plan.most_paths for plan in self.plans])
        self.total = np.array(
            [plan.total if isinstance(plan, PolicyPlan) else plan.paths for plan in self.plans]
        )
        self.cap = np.array([plan.token_cap for plan in self.plans])
        self.coefficient = np.array([plan.coefficient for plan in self.plans])
        if (self.total > self.present.sum(1)).any():
            raise ValueError("a plan wants more paths of a problem than were recorded")
        self.slow = np.array([n for n, plan in enumerate(self.plans) if plan.mode == "slow"], dtype=np.int64)
        self.threshold = controller.threshold
        self.min_keep = controller.min_keep
        # Boundaries at which something may happen: the gate may prune, or the policy be asked.
        number = np.arange(1, steps + 1)
        scores = np.concatenate((self.score[..., 1:], np.ones((*shape, 1))), axis=2)
        self.is_doomed = np.zeros(self.ends.shape, dtype=bool)
        if self.threshold is not None:
            self.is_doomed = (
                (self.ends < NEVER) & (number >= controller.min_steps) & (scores <= self.threshold)
            )
        self.is_checked = (self.ends < NEVER) & np.isin(number, policy.outlay.checkpoints)
        matters = self.is_doomed | self.is_checked
        # by event e: the number of the step that ends then, those without one last
        order = np.argsort(~matters, axis=2, kind="stable")
        self.event_step = np.where(np.take_along_axis(matters, order, 2), order, -1)
        self.event_step = np.concatenate((self.event_step, np.full((*shape, 1), -1)), axis=2)
        self.event_at = np.where(
            self.event_step >= 0, np.take_along_axis(self.ends, self.event_step.clip(0), 2), NEVER
        )


def _plan(controller: GatedController, record: ProblemRecord) -> Any:
    hidden = record.prompt_hidden if controller.needs_prompt_hidden else None
    return controller.plan(
        PromptView(len(record.prompt_hidden), hidden, NEVER, SamplingParams(), RequestBudget())
    )


class Requests:
    """Requests under way, one a row; a row is begun again with another problem when it is over.

    After `run` every row waits for an action or is over. deadline: moment at which a request ends regardless.
    """

    def __init__(self, tables: Tables, rows: int) -> None:
        self.tables = tables
        most = tables.length.shape[1]
        self.problem = np.zeros(rows, dtype=np.int64)
        self.order = np.zeros((rows, most), dtype=np.int64)
        self.state = np.full((rows, most), _NOT_STARTED)
        self.start = np.zeros((rows, most), dtype=np.int64)
        self.spent = np.zeros((rows, most), dtype=np.int64)  # tokens of paths that have ended
        self.event = np.zeros((rows, most), dtype=np.int64)
        self.now = np.zeros(rows, dtype=np.int64)
        self.deadline = np.full(rows, NEVER)
        self.started = np.zeros(rows, dtype=np.int64)
        self.spawning = np.zeros(rows, dtype=np.int64)
        self.phase = np.full(rows, _OVER)
        self._gathered: dict[str, np.ndarray] = {
            name: np.zeros((rows, *getattr(tables, name).shape[1:]), dtype=getattr(tables, name).dtype)
            for name in (
                *("length", "right", "key", "ends", "score", "weight", "met", "agreement"),
                *("is_doomed", "is_checked", "event_step", "event_at"),
            )
        }
        self._most_probable = np.array([[lead(a, b) for b in range(most + 1)] for a in range(most + 1)])

    def begin(
        self, rows: np.ndarray, problems: np.ndarray, orders: np.ndarray, deadlines: np.ndarray
    ) -> None:
        """Start new requests. orders (len(rows), paths): which recorded path comes when, absent ones last."""
        tables = self.tables
        self.problem[rows] = problems
        self.order[rows] = orders
        for name, gathered in self._gathered.items():
            gathered[rows] = getattr(tables, name)[problems[:, None], orders]
        self.state[rows] = _NOT_STARTED
        self.spent[rows] = self.event[rows] = self.start[rows] = 0
        self.now[rows] = self.started[rows] = 0
        self.deadline[rows] = deadlines
        self.phase[rows] = _MOVING
        self.spawning[rows] = tables.start[problems]
        self._start_spawned(rows)

    def _start_spawned(self, rows: np.ndarray) -> None:
        """Start what was asked for, now."""
        rows = rows[self.spawning[rows] > 0]
        first, last = self.started[rows], self.started[rows] + self.spawning[rows]
        path = np.arange(self.state.shape[1])
        fresh = (path >= first[:, None]) & (path < last[:, None])
        self.state[rows] = np.where(fresh, _RUNNING, self.state[rows])
        self.start[rows] = np.where(fresh, self.now[rows, None], self.start[rows])
        self.started[rows] = last
        self.spawning[rows] = 0

    def waiting(self) -> np.ndarray:
        """Rows that wait for an action."""
        return np.flatnonzero((self.phase == _PATH_ENDED) | (self.phase == _STEPPED))

    # what is known of a row

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """Path-tokens so far."""
        running = self.state[rows] == _RUNNING
        return (self.spent[rows] + np.where(running, self.now[rows, None] - self.start[rows], 0)).sum(1)

    def left(self, rows: np.ndarray) -> np.ndarray:
        return self.tables.total[self.problem[rows]] - self.started[rows] - self.spawning[rows]

    def steps(self, rows: np.ndarray) -> np.ndarray:
        """(rows, paths): steps that paths have ended, as the controller has been shown."""
        age = np.where(
            self.state[rows] == _RUNNING, self.now[rows, None] - self.start[rows], self.spent[rows]
        )
        seen = age - ((self.phase[rows] == _PATH_ENDED)[:, None] & (self.state[rows] == _RUNNING))
        return (self._gathered["ends"][rows] <= seen[..., None]).sum(2)

    def _latest(self, name: str, rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
        return self._gathered[name][rows[:, None], np.arange(self.state.shape[1]), steps]

    def vote(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, answers) weight of each answer; index of the path that wins, -1 where none has an answer."""
        voters = (self.state[rows] == _KEPT) & (self._gathered["key"][rows] >= 0)
        steps = self.steps(rows)
        weight = self._latest("weight", rows, steps)
        totals = self._by_answer(rows, voters, weight)
        own = np.where(voters, np.take_along_axis(totals, self._gathered["key"][rows].clip(0), 1), -1.0)
        best = voters & (own == own.max(1, keepdims=True))
        score = np.where(best, self._latest("score", rows, steps), -1.0)
        winner = (best & (score == score.max(1, keepdims=True))).argmax(1)
        return totals, np.where(voters.any(1), winner, -1)

    def _by_answer(self, rows: np.ndarray, voters: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(rows, answers): sums of voters' values, added in the order of the paths."""
        answers = self.state.shape[1]
        at = np.arange(len(rows))[:, None] * answers + self._gathered["key"][rows]
        sums = np.bincount(at[voters], values[voters], len(rows) * answers)
        return sums.astype(np.float64).reshape(len(rows), answers)  # of no voters at all it makes integers

    def outcome(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows that are over: whether right, path-tokens, and the moment at which they ended."""
        winner = self.vote(rows)[1]
        right = np.take_along_axis(self._gathered["right"][rows], winner.clip(0)[:, None], 1)[:, 0]
        return right & (winner >= 0), self.tokens(rows), self.now[rows]

    # what happens

    def run(self) -> None:
        """Until every row waits for an action or is over."""
        while len(rows := np.flatnonzero(self.phase == _MOVING)):
            alive = (self.state[rows] == _RUNNING).any(1) | (self.spawning[rows] > 0)
            self.phase[rows[~alive]] = _OVER
            self._move(rows[alive])

    def _move(self, rows: np.ndarray) -> None:
        """To the next moment at which anything happens; and what happens when paths end."""
        running = self.state[rows] == _RUNNING
        begun = self.start[rows]
        ended_at = begun + self._gathered["length"][rows]
        next_event = begun + self._latest("event_at", rows, self.event[rows])
        next_at = np.where(running, np.minimum(ended_at, next_event), NEVER).min(1)
        now = np.where(self.spawning[rows] > 0, self.now[rows] + 1, next_at)
        late = now >= self.deadline[rows]
        self.now[rows] = np.minimum(now, self.deadline[rows])
        if late.any():
            self._stop(rows[late])
            rows, running, ended_at = rows[~late], running[~late], ended_at[~late]
        ended = running & (ended_at == self.now[rows, None])
        self.spent[rows] = np.where(ended, self._gathered["length"][rows], self.spent[rows])
        self.state[rows] = np.where(ended, _KEPT, self.state[rows])
        any_ended = ended.any(1)
        asked = self._settle(rows[any_ended])
        self.phase[asked] = _PATH_ENDED
        self._end_steps(rows[self.phase[rows] == _MOVING])

    def _settle(self, rows: np.ndarray) -> np.ndarray:
        """Stop what is settled, and let be what has come to its end; returns the other rows."""
        if not len(rows):
            return rows
        to_come = (self.state[rows] == _RUNNING).sum(1) + self.left(rows)
        rows, to_come = rows[to_come > 0], to_come[to_come > 0]
        totals = np.sort(self.vote(rows)[0], axis=1)
        settled = (totals[:, -1] > 0) & (totals[:, -1] - totals[:, -2] > to_come)
        self._stop(rows[settled])
        return rows[~settled]

    def _stop(self, rows: np.ndarray) -> None:
        running = self.state[rows] == _RUNNING
        self.spent[rows] = np.where(running, self.now[rows, None] - self.start[rows], self.spent[rows])
        self.state[rows] = np.where(running, _STOPPED, self.state[rows])
        self.spawning[rows] = 0
        self.phase[rows] = _OVER

    def _prune(self, rows: np.ndarray, which: np.ndarray) -> None:
        """which (rows, paths)."""
        age = self.now[rows, None] - self.start[rows]
        self.spent[rows] = np.where(which, age, self.spent[rows])
        self.state[rows] = np.where(which, _PRUNED, self.state[rows])

    def _end_steps(self, rows: np.ndarray) -> None:
        """Start what was spawned; then what happens when paths end their steps."""
        self._start_spawned(rows)
        event = self.event[rows]
        due = self.state[rows] == _RUNNING
        due &= self.start[rows] + self._latest("event_at", rows, event) == self.now[rows, None]
        any_due = due.any(1)
        rows, due, event = rows[any_due], due[any_due], event[any_due]
        if not len(rows):
            return
        step = self._latest("event_step", rows, event)
        doomed = due & self._latest("is_doomed", rows, step.clip(0))
        checked = (due & self._latest("is_checked", rows, step.clip(0))).any(1)
        score = np.where(doomed, self._latest("score", rows, (step + 1).clip(0)), np.inf)
        self.event[rows] += due
        state = self.state[rows]
        spare = (state == _RUNNING).sum(1) + (state == _KEPT).sum(1) - self.tables.min_keep
        rank = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1, kind="stable")
        pruned = doomed & (rank < spare[:, None])
        self._prune(rows, pruned)
        alone = ~(self.state[rows] == _RUNNING).any(1)
        self.phase[rows] = _STEPPED
        going = self._settle(rows)
        asked = np.isin(rows, going) & (checked | alone)
        over = self.phase[rows] == _OVER
        self.phase[rows] = np.where(over, _OVER, np.where(asked, _STEPPED, _MOVING))

    def act(self, actions: np.ndarray) -> None:
        """Do as told in all rows that wait, by number of ACTIONS; what can't be done means to go on."""
        rows = self.waiting()
        action = actions[rows]
        running = (self.state[rows] == _RUNNING).sum(1)
        room = self.room(rows)
        voters = ((self.state[rows] == _KEPT) & (self._gathered["key"][rows] >= 0)).any(1)
        spawned = np.minimum(_SPAWN[action], room)
        needed = (spawned == 0) & (running == 0) & ~voters & (room > 0)
        self.spawning[rows] += spawned + needed
        stopped = (spawned == 0) & ~needed & (((action == _STOP) & voters) | (running == 0))
        self._stop(rows[stopped])
        drop = ~stopped & (spawned == 0) & ~needed & (action == _PRUNE) & (running > 1)
        if self.tables.threshold is not None and drop.any():
            self._prune_worst(rows[drop])
        ended = rows[self.phase[rows] == _PATH_ENDED]
        self.phase[rows[~stopped & (self.phase[rows] == _STEPPED)]] = _MOVING
        self.phase[ended] = _MOVING
        self._end_steps(ended)

    def _prune_worst(self, rows: np.ndarray) -> None:
        steps = self.steps(rows)
        scored = (self.state[rows] == _RUNNING) & (steps > 0)
        score = np.where(scored, self._latest("score", rows, steps), np.inf)
        worst = score.argmin(1)
        which = (np.arange(scored.shape[1]) == worst[:, None]) & scored
        self._prune(rows, which)
        self._settle(rows[which.any(1)])

    def room(self, rows: np.ndarray) -> np.ndarray:
        """Paths that may be started now."""
        running = (self.state[rows] == _RUNNING).sum(1)
        room = np.minimum(self.left(rows), self.tables.at_once[self.problem[rows]] - running)
        return np.where((self.phase[rows] == _STEPPED) & (running > 0), 0, room.clip(0))

    def states(self, rows: np.ndarray) -> np.ndarray:
        """(rows, len(STATE)): what `policy.state_of` gives for each."""
        tables, problem = self.tables, self.problem[rows]
        steps = self.steps(rows)
        weight = self._latest("weight", rows, steps)
        key = self._gathered["key"][rows]
        state = self.state[rows]
        kept, running = state == _KEPT, state == _RUNNING
        voters = kept & (key >= 0)
        here = np.arange(len(rows))
        totals, winner = self.vote(rows)
        leader = np.where(winner >= 0, key[here, winner.clip(0)], 0)
        clipped = weight.clip(1 - CLIP, CLIP)
        log_odds = np.log(clipped / (1 - clipped))
        votes = self._by_answer(rows, voters, np.ones_like(weight))
        odds = self._by_answer(rows, voters, log_odds)
        others = votes > 0
        others[here, leader] = False

        def beside(values: np.ndarray) -> np.ndarray:
            return np.where(others.any(1), np.where(others, values, -np.inf).max(1), 0.0)

        count = voters.sum(1)
        first, second = votes[here, leader].astype(int), beside(votes).astype(int)
        leader_weight, leader_odds = totals[here, leader], odds[here, leader]
        all_weight = np.where(voters, weight, 0).cumsum(1)[:, -1]
        of_leader = voters & (key == leader[:, None])
        scored = running & (steps > 0)
        at_work = scored.sum(1)
        finished = kept.sum(1)
        age = np.where(running, self.now[rows, None] - self.start[rows], 0)
        mean_tokens = np.where(kept, self.spent[rows], 0).sum(1) / finished.clip(1)
        progress = np.minimum(age.max(1) / mean_tokens.clip(1e-9), 2.0)
        deadline = self.deadline[rows]
        columns = {
            "voters": count / 8,
            "answers": (votes > 0).sum(1) / 4,
            "leader_votes": first / 8,
            "leader_share": first / count.clip(1),
            "vote_margin": (first - second) / 8,
            "lead_probability": np.where(count > 0, self._most_probable[first, second], 0.0),
            "leader_weight": leader_weight / 8,
            "weight_share": _share(leader_weight, all_weight),
            "weight_margin": (leader_weight - beside(totals)) / 8,
            "leader_odds": leader_odds / 8,
            "odds_margin": (leader_odds - beside(odds)) / 8,
            "leader_best": np.where(of_leader, weight, 0).max(1),
            "leader_mean": leader_weight / first.clip(1),
            "others_best": np.where(voters & ~of_leader, weight, 0).max(1),
            "finished_mean": all_weight / count.clip(1),
            "running": running.sum(1) / 8,
            "unscored": (running.sum(1) - at_work) / 8,
            "running_best": np.where(scored, weight, 0).max(1),
            "running_mean": np.where(scored, weight, 0).cumsum(1)[:, -1] / at_work.clip(1),
            "running_worst": np.where(at_work > 0, np.where(scored, weight, np.inf).min(1), 0.0),
            "answers_met": np.where(scored, self._latest("met", rows, steps), 0).cumsum(1)[:, -1] / 8,
            "path_agreement": np.where(scored, self._latest("agreement", rows, steps), 0).cumsum(1)[:, -1]
            / at_work.clip(1),
            "progress": np.where(finished > 0, progress, 0.0),
            "started": self.started[rows] / 16,
            "pruned": ((state == _PRUNED) | (state == _STOPPED)).sum(1) / 16,
            "left": self.left(rows) / 16,
            "room": self.room(rows) / 8,
            "tokens": self.tokens(rows) / (4 * tables.cap[problem]),
            "coefficient": tables.coefficient[problem] / 2,
            "time_left": np.where(deadline < NEVER, 1 - self.now[rows] / deadline, 1.0),
        }
        return np.stack([columns[name] for name in STATE], axis=1).astype(np.float32)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


class Rollout:
    """Outcomes of whole requests: right, tokens and latency (moment of the end), each (problems, orders)."""

    def __init__(self, tables: Tables, orders: int) -> None:
        self.tables = tables
        shape = (len(tables.plans), orders)
        self.right = np.zeros(shape, dtype=bool)
        self.tokens = np.zeros(shape, dtype=np.int64)
        self.latency = np.zeros(shape, dtype=np.int64)

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def mean_tokens(self) -> float:
        return float(self.tokens.mean())

    @property
    def mean_latency(self) -> float:
        return float(self.latency.mean())


def shuffled(tables: Tables, problems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(len(problems), paths): a random order of each problem's recorded paths, absent ones last."""
    present = tables.present[problems]
    return np.argsort(rng.random(present.shape) + ~present, axis=1)


def roll_out(tables: Tables, choose: Choose, orders: int = 1, seed: int | None = None) -> Rollout:
    """Every problem once in each of `orders` random orders of its paths; as recorded if seed is None.

    What the controller answers without thinking is in it as well, with the recorded fast path.
    """
    rng = np.random.default_rng(seed)
    found = Rollout(tables, orders)
    problems = np.repeat(np.arange(len(tables.plans)), orders)
    requests = Requests(tables, len(problems))
    recorded = np.broadcast_to(np.arange(tables.present.shape[1]), (len(problems), tables.present.shape[1]))
    order = recorded if seed is None else shuffled(tables, problems, rng)
    everything = np.arange(len(problems))
    requests.begin(everything, problems, order, np.full(len(problems), NEVER))
    requests.run()
    while len(waiting := requests.waiting()):
        actions = np.zeros(len(problems), dtype=np.int64)
        actions[waiting] = choose(requests.states(waiting))
        requests.act(actions)
        requests.run()
    right, tokens, latency = requests.outcome(everything)
    found.right, found.tokens, found.latency = (a.reshape(-1, orders) for a in (right, tokens, latency))
    return found


class Training(VecEnv):
    """The environment as stable-baselines3 takes it: `rows` requests at once, begun again as they end.

    Cost and latency are charged as they arise, so that the sum of an episode's rewards is R. A share of the
    requests has a deadline, between half and three times the longest path.
    """

    def __init__(
        self, tables: Tables, rows: int, reward: Reward, seed: int = 0, deadline_share: float = 0.0
    ) -> None:
        space = gymnasium.spaces.Box(-np.inf, np.inf, (len(STATE),), np.float32)
        super().__init__(rows, space, gymnasium.spaces.Discrete(len(ACTIONS)))
        self.tables = tables
        self.reward = reward
        self.deadline_share = deadline_share
        self.requests = Requests(tables, rows)
        self.rng = np.random.default_rng(seed)
        self.charged = np.zeros(rows)
        self._everything = np.arange(rows)
        self._actions = np.zeros(rows, dtype=np.int64)

    def reset(self) -> np.ndarray:
        self._begin(self._everything)
        return self.requests.states(self._everything)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        self.requests.act(self._actions)
        self.requests.run()
        over = self.requests.phase == _OVER
        cost, latency = self._spent(self._everything)
        nothing_yet = np.zeros(len(over), dtype=bool)
        if self.reward.only_if_right:
            rewards = np.zeros(len(over))
        else:
            so_far = self.reward.of(nothing_yet, cost, latency) - self.reward.of(
                nothing_yet, 0 * cost, 0 * cost
            )
            rewards, self.charged = so_far - self.charged, so_far
        ended = np.flatnonzero(over)
        if len(ended):
            right = self.requests.outcome(ended)[0]
            if self.reward.only_if_right:
                rewards[ended] = self.reward.of(right, cost[ended], latency[ended])
            else:
                rewards[ended] += self.reward.of(right, 0 * cost[ended], 0 * cost[ended])
            self._begin(ended)
        return self.requests.states(self._everything), rewards, over, [{} for _ in over]

    def _spent(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        problem = self.requests.problem[rows]
        cost = self.requests.tokens(rows) / self.tables.full[problem]
        return cost, np.minimum(self.requests.now[rows] / self.tables.longest[problem], 1.0)

    def _begin(self, rows: np.ndarray) -> None:
        """New requests, as far as their first question; those that end without one are passed over."""
        self.charged[rows] = 0
        while len(rows):
            problems = self.tables.slow[self.rng.integers(0, len(self.tables.slow), len(rows))]
            some = self.rng.uniform(0.5, 3, len(rows)) * self.tables.longest[problems]
            hurried = self.rng.random(len(rows)) < self.deadline_share
            deadlines = np.where(hurried, some.astype(np.int64), NEVER)
            self.requests.begin(rows, problems, shuffled(self.tables, problems, self.rng), deadlines)
            self.requests.run()
            rows = rows[self.requests.phase[rows] == _OVER]

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("all rows are one environment")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class OneRequest(gymnasium.Env[np.ndarray, np.int64]):
    """The same for one request at a time, as gymnasium has it."""

    def __init__(self, tables: Tables, reward: Reward = Reward(), deadline_share: float = 0.0) -> None:
        self.rows = Training(tables, 1, reward, deadline_share=deadline_share)
        self.observation_space = self.rows.observation_space
        self.action_space = self.rows.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.rows.rng = np.random.default_rng(seed)
        return np.asarray(self.rows.reset())[0], {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        states, rewards, over, _ = self.rows.step(np.array([action]))
        return np.asarray(states)[0], float(rewards[0]), bool(over[0]), False, {}
