"""Recorded problems played to a policy, many requests at once, as columns of numbers.

Does what `evaluation.replay` does with the shipped controller, at the same moments and in the same order, for
a thousand requests in the time that replay takes for a few. A policy is asked where the controller would ask
it; everything between two questions (the gate's pruning, paths that end, what is settled) is played here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controllable_inference.core.controller import GatedController
from controllable_inference.core.policy import ACTIONS, CLIP, SPAWNED, STATE, PolicyPlan, lead
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, PromptView
from controllable_inference.learn.records import ProblemRecord
from controllable_inference.learn.replay import prepare

NEVER = 1 << 30
_NOT_STARTED, _RUNNING, _KEPT, _PRUNED, _STOPPED = range(5)
_MOVING, _PATH_ENDED, _STEPPED, _OVER = range(4)
"""Where a request is in a moment: before it, asked as paths have ended, asked as steps have ended, over."""
_CONTINUE, _PRUNE, _STOP = (ACTIONS.index(name) for name in ("continue", "prune", "stop"))
_SPAWN = np.array([SPAWNED.get(name, 0) for name in ACTIONS])
Choose = Callable[[np.ndarray], np.ndarray]
"""States (requests, len(STATE)) to numbers of ACTIONS (requests,)."""


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
        self.guard = controller.guard
        # Boundaries at which something may happen: the gate may prune, or the policy be asked.
        number = np.arange(1, steps + 1)
        scores = np.concatenate((self.score[..., 1:], np.ones((*shape, 1))), axis=2)
        self.is_doomed = np.zeros(self.ends.shape, dtype=bool)
        if self.threshold is not None:
            self.is_doomed = (
                (self.ends < NEVER) & (number >= controller.guard.min_steps) & (scores <= self.threshold)
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
        self.total = np.zeros(rows, dtype=np.int64)
        self.started = np.zeros(rows, dtype=np.int64)
        self.spawning = np.zeros(rows, dtype=np.int64)
        self.phase = np.full(rows, _OVER)
        self._gathered: dict[str, np.ndarray] = {
            name: np.zeros((rows, *getattr(tables, name).shape[1:]), dtype=getattr(tables, name).dtype)
            for name in (
                *("length", "right", "key", "ends", "score", "weight"),
                *("is_doomed", "is_checked", "event_step", "event_at"),
            )
        }
        self._most_probable = np.array([[lead(a, b) for b in range(most + 1)] for a in range(most + 1)])

    def begin(
        self,
        rows: np.ndarray,
        problems: np.ndarray,
        orders: np.ndarray,
        deadlines: np.ndarray | int = NEVER,
        totals: np.ndarray | int = NEVER,
    ) -> None:
        """Start new requests. orders (len(rows), paths): which recorded path comes when, absent ones last.

        totals: most paths that each may start, where that is less than its plan says.
        """
        tables = self.tables
        self.total[rows] = np.minimum(tables.total[problems], totals)
        self.problem[rows] = problems
        self.order[rows] = orders
        for name, gathered in self._gathered.items():
            gathered[rows] = getattr(tables, name)[problems[:, None], orders]
        self.state[rows] = _NOT_STARTED
        self.spent[rows] = self.event[rows] = self.start[rows] = 0
        self.now[rows] = self.started[rows] = 0
        self.deadline[rows] = deadlines
        self.phase[rows] = _MOVING
        self.spawning[rows] = np.minimum(tables.start[problems], self.total[rows])
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

    def is_over(self) -> np.ndarray:
        """(rows,): whether each has ended."""
        return self.phase == _OVER

    def waiting(self) -> np.ndarray:
        """Rows that wait for an action."""
        return np.flatnonzero((self.phase == _PATH_ENDED) | (self.phase == _STEPPED))

    # what is known of a row

    def tokens(self, rows: np.ndarray) -> np.ndarray:
        """Path-tokens so far."""
        running = self.state[rows] == _RUNNING
        return (self.spent[rows] + np.where(running, self.now[rows, None] - self.start[rows], 0)).sum(1)

    def left(self, rows: np.ndarray) -> np.ndarray:
        return self.total[rows] - self.started[rows] - self.spawning[rows]

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
        answers = max(2, self.state.shape[1])  # there is always a runner-up, if one without votes
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
        spare = (state == _RUNNING).sum(1) + (state == _KEPT).sum(1) - self.tables.guard.min_keep
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
        kept = (self.state[rows] == _KEPT).sum(1)
        drop = ~stopped & (spawned == 0) & ~needed & (action == _PRUNE) & (running > 1)
        drop &= running + kept > self.tables.guard.min_keep
        if self.tables.threshold is not None and drop.any():
            self._prune_worst(rows[drop])
        ended = rows[self.phase[rows] == _PATH_ENDED]
        self.phase[rows[~stopped & (self.phase[rows] == _STEPPED)]] = _MOVING
        self.phase[ended] = _MOVING
        self._end_steps(ended)

    def _prune_worst(self, rows: np.ndarray) -> None:
        steps = self.steps(rows)
        scored = (self.state[rows] == _RUNNING) & (steps >= max(1, self.tables.guard.min_steps))
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


@dataclass(frozen=True)
class Rollout:
    """Outcomes of whole requests, each (problems, orders). latency: the moment of the end."""

    right: np.ndarray
    tokens: np.ndarray
    latency: np.ndarray


def shuffled(tables: Tables, problems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(len(problems), paths): a random order of each problem's recorded paths, absent ones last."""
    present = tables.present[problems]
    return np.argsort(rng.random(present.shape) + ~present, axis=1)


def roll_out(tables: Tables, choose: Choose, orders: int = 1, seed: int | None = None) -> Rollout:
    """Every problem once in each of `orders` random orders of its paths; as recorded if seed is None.

    What the controller answers without thinking is in it as well, with the recorded fast path.
    """
    rng = np.random.default_rng(seed)
    problems = np.repeat(np.arange(len(tables.plans)), orders)
    requests = Requests(tables, len(problems))
    recorded = np.broadcast_to(np.arange(tables.present.shape[1]), (len(problems), tables.present.shape[1]))
    order = recorded if seed is None else shuffled(tables, problems, rng)
    everything = np.arange(len(problems))
    requests.begin(everything, problems, order)
    requests.run()
    while len(waiting := requests.waiting()):
        actions = np.zeros(len(problems), dtype=np.int64)
        actions[waiting] = choose(requests.states(waiting))
        requests.act(actions)
        requests.run()
    return Rollout(*(figures.reshape(-1, orders) for figures in requests.outcome(everything)))
