"""Training of the policy: when is another path worth its tokens?

PPO (Schulman et al. 2017, arXiv:1707.06347; stable-baselines3) on simulated requests maximises the article's
reward R = α·accuracy + β·(1 − compute_cost) − γ·latency. What R's weights should be is not for R to say:
they are searched for, along with how many paths a request starts with and how readily the gate prunes, by an
aim from outside (Optuna's tree-structured Parzen estimator, Bergstra et al. 2011): as few tokens as possible,
at an accuracy and a latency no worse than those of a vote among all paths, on validation problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.controller import GatedController
from controllable_inference.core.policy import STATE, Outlay, Policy, PolicyNet
from controllable_inference.learn.policy_env import Reward, Training
from controllable_inference.learn.records import ProblemRecord
from controllable_inference.learn.replay import replay
from controllable_inference.learn.simulation import Rollout, Tables, roll_out

Beside = Callable[[Policy, float], GatedController]
"""Makes the controller that a policy works in, pruning up to that score."""


@dataclass(frozen=True)
class PPORecipe:
    """steps: questions answered in training, by `rows` requests side by side, `moments` each between two
    updates. checks: how often validation is looked at; the best of what was seen there is kept.
    """

    steps: int = 400_000
    rows: int = 512
    moments: int = 16
    batch: int = 2048
    epochs: int = 4
    lr: float = 1e-3
    gae_lambda: float = 0.95
    entropy: float = 0.01
    hidden_dim: int = 24
    limited: float = 0.1  # share of requests with a deadline, and of those that may start fewer paths
    checks: int = 8
    orders: int = 8  # of a validation problem's paths, at each check


@dataclass(frozen=True)
class Choices:
    """What is searched: weights of R, how a request begins, and the gate score up to which paths are pruned.

    thresholds are at least the gate's own, which promises a recall of paths; more paths may go where only the
    vote counts.
    """

    alpha: tuple[float, float] = (0.6, 8.0)
    gamma: tuple[float, float] = (0.05, 1.0)
    start_paths: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0)
    at_once: tuple[int, ...] = (6, 8, 12)
    thresholds: tuple[float, ...] = (0.3, 0.35, 0.4, 0.45)


@dataclass(frozen=True)
class PolicyRecipe:
    """trials: settings tried, the article's weights first. margin: accuracy that is asked for above that of
    the vote among all paths, as what is chosen for having done well does a little worse elsewhere. penalty:
    tokens, as a share of that vote's, that a whole point of accuracy under it is worth less than.
    """

    ppo: PPORecipe = field(default_factory=PPORecipe)
    choices: Choices = field(default_factory=Choices)
    checkpoints: tuple[int, ...] = ()
    trials: int = 16
    margin: float = 0.01
    penalty: float = 0.2
    seed: int = 1


@dataclass(frozen=True)
class Candidate:
    """One point of the search."""

    reward: Reward = field(default_factory=Reward)
    outlay: Outlay = field(default_factory=Outlay)
    threshold: float = 0.3


@dataclass(frozen=True)
class Standing:
    """Accuracy, and means of path-tokens and of the longest chain of paths."""

    accuracy: float
    tokens: float
    latency: float

    @classmethod
    def of(cls, rollout: Rollout) -> Standing:
        return cls(float(rollout.right.mean()), float(rollout.tokens.mean()), float(rollout.latency.mean()))


@dataclass(frozen=True)
class TrainedPolicy:
    """The policy, what it was trained for, and all that was tried. full_vote: of the validation problems.
    article: there, with the article's weights of the reward and everything else as chosen.
    """

    policy: Policy
    setting: Candidate
    standing: Standing
    recipe: PolicyRecipe
    full_vote: Standing
    article: Standing
    tried: list[dict[str, Any]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """For control.json: what was reached on validation, and whether the article's weights would do."""
        weights = self.setting.reward
        total = weights.alpha + weights.beta + weights.gamma
        return {
            "reward": {name: getattr(weights, name) / total for name in ("alpha", "beta", "gamma")},
            "validation": asdict(self.standing),
            "validation_full_vote": asdict(self.full_vote),
            "validation_articles_reward": asdict(self.article),
            "tried": self.tried,
        }


def train_policy(
    train: list[ProblemRecord],
    validation: list[ProblemRecord],
    beside: Beside,
    recipe: PolicyRecipe,
    say: Callable[[str], None],
    *,
    token_cap: int,
) -> TrainedPolicy:
    """The policy that comes nearest to the recipe's aim on validation (`Aim`).

    beside: its gate should not have learned from `train`, or the policy learns to trust it too much, and it
    should not look at a path's siblings, for those are others when fewer paths run than were recorded.
    token_cap: of each path in the vote that the aim compares with.
    """
    aim = Aim(full_vote(validation, token_cap), recipe.margin, recipe.penalty)
    say(f"policy: a vote among all paths of the validation problems: {aim.full_vote}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=recipe.seed))
    study.enqueue_trial(_point(Candidate(), recipe.choices))
    best: tuple[float, Policy, Candidate, Standing] | None = None
    tried: list[dict[str, Any]] = []

    def settled(setting: Candidate, number: int) -> list[tuple[Policy, Standing]]:
        untrained = Policy(PolicyNet(len(STATE), recipe.ppo.hidden_dim), setting.outlay)
        controller = beside(untrained, setting.threshold)
        looks = learn(train, validation, controller, setting.reward, recipe.ppo, recipe.seed + number)
        return looks[len(looks) // 2 :]

    def best_of(looks: list[tuple[Policy, Standing]]) -> tuple[Policy, Standing]:
        return min(looks, key=lambda look: aim.miss(look[1]))

    for number in range(recipe.trials):
        trial = study.ask()
        setting = _suggest(trial, recipe)
        looks = settled(setting, number)
        miss = float(np.mean([aim.miss(standing) for _, standing in looks]))
        study.tell(trial, miss)
        policy, standing = best_of(looks)
        tried.append({**asdict(setting.reward), **trial.params, "miss": miss, **asdict(standing)})
        say(f"policy: {number + 1} of {recipe.trials}, {trial.params}: {standing}, aim missed by {miss:.3f}")
        if best is None or miss < best[0]:
            best = miss, policy, setting, standing
    assert best is not None
    _, policy, setting, standing = best
    _, article = best_of(settled(replace(setting, reward=Reward()), recipe.trials))
    say(f"policy: with the article's reward, all else as chosen: {article}")
    return TrainedPolicy(policy, setting, standing, recipe, aim.full_vote, article, tried)


@dataclass(frozen=True)
class Aim:
    """As few tokens as possible, at more accuracy by `margin` and no more latency than a vote among all."""

    full_vote: Standing
    margin: float
    penalty: float

    def miss(self, standing: Standing) -> float:
        """Tokens as a share of the full vote's, and a penalty for what is lost of accuracy or latency."""
        lost = max(0.0, self.full_vote.accuracy + self.margin - standing.accuracy)
        late = max(0.0, standing.latency / self.full_vote.latency - 1)
        return standing.tokens / self.full_vote.tokens + 100 * self.penalty * lost + late


def full_vote(records: list[ProblemRecord], token_cap: int) -> Standing:
    """One vote for each recorded path, all run side by side to their ends."""
    outcomes = [replay(record, MajorityVote(len(record.paths), token_cap)) for record in records]
    names = ("right", "tokens", "steps_latency")
    return Standing(*(float(np.mean([getattr(one, name) for one in outcomes])) for name in names))


def learn(
    train: list[ProblemRecord],
    validation: list[ProblemRecord],
    controller: GatedController,
    reward: Reward,
    recipe: PPORecipe,
    seed: int,
) -> list[tuple[Policy, Standing]]:
    """Policies in the course of training, each with how it stood on validation, in their order."""
    assert controller.policy is not None
    outlay = controller.policy.outlay
    seen = Tables(validation, controller)
    env = Training(Tables(train, controller), recipe.rows, reward, seed, recipe.limited)
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda remaining: recipe.lr * remaining,
        n_steps=recipe.moments,
        batch_size=recipe.batch,
        n_epochs=recipe.epochs,
        gamma=1.0,  # R is a sum over an episode: a later token costs what an earlier one does
        gae_lambda=recipe.gae_lambda,
        ent_coef=recipe.entropy,
        policy_kwargs={
            "net_arch": {"pi": [recipe.hidden_dim] * 2, "vf": [64, 64]},
            "activation_fn": nn.Tanh,
        },
        seed=seed,
        device="cpu",
    )
    looks: list[tuple[Policy, Standing]] = []

    def look() -> None:
        policy = Policy(exported(model), outlay)
        looks.append((policy, Standing.of(roll_out(seen, policy.choose_all, recipe.orders, seed=0))))

    updates = max(1, recipe.steps // (recipe.rows * recipe.moments))
    looking = _Looking(look, max(1, updates // recipe.checks))
    model.learn(updates * recipe.rows * recipe.moments, callback=looking)
    look()
    return looks


class _Looking(BaseCallback):
    """Calls `look` before every `every`th update but the first."""

    def __init__(self, look: Callable[[], None], every: int) -> None:
        super().__init__()
        self.look = look
        self.every = every
        self.updates = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.updates and self.updates % self.every == 0:
            self.look()
        self.updates += 1


def exported(model: PPO) -> PolicyNet:
    """The part of what PPO trained that chooses actions."""
    policy: Any = model.policy
    first, second = (layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear))
    net = PolicyNet(first.in_features, first.out_features, policy.action_net.out_features)
    mine = [layer for layer in net.net if isinstance(layer, nn.Linear)]
    for own, its in zip(mine, (first, second, policy.action_net), strict=True):
        own.load_state_dict(its.state_dict())
    return net.eval()


def _point(setting: Candidate, choices: Choices) -> dict[str, Any]:
    """A setting as Optuna names it, as near as the choices allow."""

    def nearest(value: float, among: tuple[Any, ...]) -> Any:
        return min(among, key=lambda one: abs(one - value))

    return {
        "alpha": setting.reward.alpha,
        "gamma": setting.reward.gamma,
        "start_paths": nearest(setting.outlay.start_paths, choices.start_paths),
        "at_once": nearest(setting.outlay.at_once, choices.at_once),
        "threshold": nearest(setting.threshold, choices.thresholds),
    }


def _suggest(trial: optuna.Trial, recipe: PolicyRecipe) -> Candidate:
    """β stays as it is: only the weights' proportions matter to a policy."""
    choices = recipe.choices
    reward = Reward(
        alpha=trial.suggest_float("alpha", *choices.alpha, log=True),
        gamma=trial.suggest_float("gamma", *choices.gamma, log=True),
    )
    outlay = Outlay(
        trial.suggest_categorical("start_paths", choices.start_paths),
        trial.suggest_categorical("at_once", choices.at_once),
        recipe.checkpoints,
    )
    return Candidate(reward, outlay, trial.suggest_categorical("threshold", choices.thresholds))
