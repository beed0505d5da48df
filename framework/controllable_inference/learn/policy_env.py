"""The environment that a policy learns in: recorded problems, whose paths come in another order every time,
so that a few recorded paths make many episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv

from controllable_inference.core.policy import ACTIONS, STATE
from controllable_inference.learn.simulation import NEVER, Requests, Tables, shuffled


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


class Training(VecEnv):
    """The environment as stable-baselines3 takes it: `rows` requests at once, begun again as they end.

    Cost and latency are charged as they arise, so that the sum of an episode's rewards is R. Of the requests
    a share `limited` has a deadline, between half and three times the longest path, and as many may start
    fewer paths than their plan says.
    """

    def __init__(
        self, tables: Tables, rows: int, reward: Reward, seed: int = 0, limited: float = 0.0
    ) -> None:
        space = gymnasium.spaces.Box(-np.inf, np.inf, (len(STATE),), np.float32)
        self.render_mode = None  # stable-baselines3 asks for it, and warns without
        super().__init__(rows, space, gymnasium.spaces.Discrete(len(ACTIONS)))
        self.tables = tables
        self.reward = reward
        self.limited = limited
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
        over = self.requests.is_over()
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
            while_it_lasts = self.rng.uniform(0.5, 3, len(rows)) * self.tables.longest[problems]
            deadlines = self._for_some(while_it_lasts.astype(np.int64))
            totals = self._for_some(self.rng.integers(1, self.tables.total[problems] + 1))
            orders = shuffled(self.tables, problems, self.rng)
            self.requests.begin(rows, problems, orders, deadlines, totals)
            self.requests.run()
            rows = rows[self.requests.is_over()[rows]]

    def _for_some(self, limits: np.ndarray) -> np.ndarray:
        return np.where(self.rng.random(len(limits)) < self.limited, limits, NEVER)

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

    def __init__(self, tables: Tables, reward: Reward | None = None, limited: float = 0.0) -> None:
        self.rows = Training(tables, 1, reward or Reward(), limited=limited)
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
