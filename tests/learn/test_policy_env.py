"""The simulation that a policy learns in does what replay does with the shipped controller."""

import random

import gymnasium
import numpy as np
import pytest
import torch
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.controller import GatedController
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.policy import ACTIONS, STATE, Outlay, Policy, PolicyNet, state_of
from controllable_inference.core.views import Decision, RequestView
from controllable_inference.learn.policy_env import OneRequest, Reward, Training
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.replay import replay
from controllable_inference.learn.simulation import NEVER, Requests, Tables, roll_out, shuffled
from gymnasium.utils.env_checker import check_env

PATHS = 8


def some_path(rng: random.Random) -> PathRecord:
    boundaries = sorted(rng.sample(range(1, 60), rng.randint(0, 7)))
    tokens = max(boundaries, default=0) + rng.randint(1, 9)
    scores = [round(rng.random(), 1) for _ in boundaries]  # one digit, so that there are ties
    features = torch.tensor(scores)[:, None].expand(-1, len(STATISTICS))
    answer = rng.choice(["4", "5", "6", None])
    return PathRecord(tokens, boundaries, features, answer, answer == "4")


def quick_path(rng: random.Random) -> PathRecord:
    nothing = torch.zeros(0, len(STATISTICS))
    return PathRecord(rng.randint(1, 9), [], nothing, rng.choice(["4", "5"]), rng.random() < 0.5)


def some_problems(count: int, seed: int, paths: int = PATHS) -> list[ProblemRecord]:
    rng = random.Random(seed)
    return [
        ProblemRecord(
            "gcd", 0, str(n), torch.zeros(3, 4), [some_path(rng) for _ in range(paths)], [quick_path(rng)]
        )
        for n in range(count)
    ]


def some_policy(seed: int, outlay: Outlay) -> Policy:
    """One that does all kinds of things."""
    torch.manual_seed(seed)
    net = PolicyNet(len(STATE), 16)
    with torch.no_grad():
        net.net[0].weight.mul_(4)
        net.net[-1].weight.mul_(4)
    return Policy(net, outlay)


def controller(policy: Policy | None, token_cap: int = 50, **options: object) -> GatedController:
    rule = BudgetRule(PATHS, token_cap, PATHS)
    return GatedController(rule, lambda features: features[:, 0], policy=policy, **options)  # type: ignore[arg-type]


class Watched(GatedController):
    """Notes what the policy is shown."""

    def __init__(self, inner: GatedController) -> None:
        self.__dict__.update(inner.__dict__)
        self.shown: list[list[float]] = []
        policy = inner.policy
        assert policy is not None
        self.policy = Policy(policy.net, policy.outlay)
        self.policy.choose = self.note  # type: ignore[method-assign]
        self.its = policy

    def note(self, state: list[float]) -> str:
        self.shown.append(state)
        return self.its.choose(state)


SETTINGS = [
    {"threshold": 0.2, "min_keep": 2},
    {"threshold": 0.5, "min_keep": 1, "min_steps": 1},
    {"threshold": None},
    {"threshold": 0.3, "min_keep": 3, "weight": None},
]


@pytest.mark.parametrize("seed", range(8))
def test_an_episode_is_the_replay_of_the_controller_with_the_same_policy(seed):
    rng = random.Random(seed)
    outlay = Outlay(rng.uniform(0.5, 5), rng.randint(1, PATHS), (2, 4) if seed % 2 else ())
    policy = some_policy(seed, outlay)
    watched = Watched(controller(policy, token_cap=rng.choice([30, 50, 100]), **SETTINGS[seed % 4]))
    records = some_problems(40, seed)
    tables = Tables(records, watched)
    shown: list[np.ndarray] = []

    def choose(states: np.ndarray) -> np.ndarray:
        shown.append(states)
        return policy.choose_all(states)

    whole = roll_out(tables, policy.choose_all)
    kinds = set()
    for n, record in enumerate(records):
        watched.shown.clear()
        replayed = replay(record, watched)
        assert (replayed.right, replayed.tokens, replayed.steps_latency) == (
            bool(whole.right[n, 0]),
            whole.tokens[n, 0],
            whole.latency[n, 0],
        )
        kinds.add((replayed.pruned > 0, replayed.stopped > 0, replayed.started > tables.start[n]))
        shown.clear()
        roll_out(Tables([record], watched), choose)
        assert np.allclose(
            np.concatenate(shown or [np.zeros((0, len(STATE)))]),
            np.array(watched.shown).reshape(-1, len(STATE)),
            atol=1e-6,
        )
    assert len(kinds) > 1  # or there was nothing to compare


def test_what_is_answered_without_thinking_is_in_the_figures_and_no_question_of_the_policys():
    policy = some_policy(1, Outlay())
    quick = controller(policy)
    quick.rule = BudgetRule(PATHS, 50, PATHS, max_coefficient=0.05)
    records = some_problems(5, 3)
    tables = Tables(records, quick)
    assert not len(tables.slow)
    outcome = roll_out(tables, lambda states: pytest.fail("asked"))
    assert outcome.tokens[:, 0].tolist() == [replay(record, quick).tokens for record in records]


def test_the_sum_of_an_episodes_rewards_is_the_articles_reward():
    records = some_problems(6, 5)
    tables = Tables(records, controller(some_policy(2, Outlay(2, 4))))
    weights = Reward(0.6, 0.3, 0.1)
    env = Training(tables, rows=16, reward=weights, seed=3)
    env.reset()
    sums, done = np.zeros(16), []
    rng = np.random.default_rng(0)
    for _ in range(60):
        before = env.requests
        rows = {name: np.copy(getattr(before, name)) for name in ("problem",)}
        ended: dict[int, float] = {}
        real = before.outcome

        def outcome(which: np.ndarray, real=real, rows=rows, ended=ended) -> tuple[np.ndarray, ...]:
            right, tokens, latency = real(which)
            problem = rows["problem"][which]
            cost, late = tokens / tables.full[problem], latency / tables.longest[problem]
            expected = 0.6 * right + 0.3 * (1 - cost) - 0.1 * np.minimum(late, 1)
            ended.update(zip(which.tolist(), expected.tolist(), strict=True))
            return right, tokens, latency

        before.outcome = outcome  # type: ignore[method-assign]
        _, rewards, over, _ = env.step(rng.integers(0, len(ACTIONS), 16))
        before.outcome = real  # type: ignore[method-assign]
        sums += rewards
        for row in np.flatnonzero(over):
            done.append((sums[row], ended[row]))
            sums[row] = 0
    got, expected = np.array(done).T
    assert len(got) > 50
    assert np.allclose(got, expected)


def test_a_reward_that_counts_costs_of_right_answers_only_gives_nothing_for_giving_up():
    right, cost = np.array([True, False]), np.array([0.5, 0.5])
    assert Reward().of(right, cost, cost).tolist() == pytest.approx([0.6 + 0.15 - 0.05, 0.15 - 0.05])
    assert Reward(only_if_right=True).of(right, cost, cost).tolist() == pytest.approx([0.7, 0.0])


def test_costs_beyond_full_voting_count_as_full():
    assert Reward().of(np.array([1]), np.array([1.5]), np.array([3.0]))[0] == pytest.approx(0.5)


def test_a_deadline_ends_a_request_and_time_runs_out_before_it():
    records = some_problems(10, 7)
    tables = Tables(records, controller(some_policy(3, Outlay(4, 4)), token_cap=100, threshold=None))
    requests = Requests(tables, 10)
    rows = np.arange(10)
    orders = shuffled(tables, rows, np.random.default_rng(0))
    requests.begin(rows, rows, orders, deadlines=np.full(10, 12))
    requests.run()
    left: list[float] = []
    while len(waiting := requests.waiting()):
        left += requests.states(waiting)[:, STATE.index("time_left")].tolist()
        requests.act(np.zeros(10, dtype=int))
        requests.run()
    assert (requests.now <= 12).all()
    assert (requests.now == 12).any()
    assert all(0 < share < 1 for share in left)


def test_no_request_starts_more_paths_than_it_may():
    records = some_problems(20, 9)
    tables = Tables(records, controller(some_policy(4, Outlay(2, 4)), threshold=None))
    requests = Requests(tables, 20)
    rows = np.arange(20)
    requests.begin(rows, rows, shuffled(tables, rows, np.random.default_rng(0)), totals=np.full(20, 5))
    requests.run()
    while len(requests.waiting()):
        requests.act(np.full(20, ACTIONS.index("spawn_4")))
        requests.run()
        assert ((requests.state == 1).sum(1) <= 4).all()
    assert (requests.started <= 5).all()
    assert (requests.started == 5).any()


def test_paths_come_in_another_order_every_time_and_all_of_them_once():
    records = some_problems(3, 11)
    tables = Tables(records, controller(some_policy(5, Outlay())))
    orders = shuffled(tables, np.array([0, 0, 1]), np.random.default_rng(0))
    assert [sorted(order) for order in orders.tolist()] == [list(range(PATHS))] * 3
    assert orders[0].tolist() != orders[1].tolist()


def test_a_plan_beyond_what_was_recorded_is_refused():
    with pytest.raises(ValueError, match="more paths of a problem than were recorded"):
        Tables(some_problems(2, 1, paths=3), controller(some_policy(1, Outlay())))


def test_a_controller_without_a_policy_is_refused():
    with pytest.raises(ValueError, match="without a policy"):
        Tables(some_problems(2, 1), controller(None))


def test_it_is_an_environment_of_gymnasium():
    tables = Tables(some_problems(8, 13), controller(some_policy(6, Outlay(2, 4, (2,)))))
    env = OneRequest(tables, limited=0.3)
    check_env(env, skip_render_check=True)
    assert isinstance(env, gymnasium.Env)
    first, _ = env.reset(seed=4)
    again, _ = env.reset(seed=4)
    assert (first == again).all()


def test_a_state_is_what_the_served_controller_would_see_of_a_request_with_a_deadline():
    record = some_problems(1, 17)[0]
    policy = some_policy(1, Outlay(3, 4))
    inner = controller(policy, token_cap=100, threshold=None)
    tables = Tables([record], inner)
    requests = Requests(tables, 1)
    requests.begin(np.array([0]), np.array([0]), np.arange(PATHS)[None], deadlines=np.array([NEVER - 1]))
    requests.run()
    simulated = requests.states(np.array([0]))[0]

    class Stopped(Exception):
        pass

    def decide(view: RequestView) -> list[Decision]:
        if policy.is_asked(view):
            raise Stopped(state_of(view, inner.weigh))
        return []

    inner.decide = decide  # type: ignore[method-assign]
    with pytest.raises(Stopped) as stopped:
        replay(record, inner)
    assert np.allclose(simulated, stopped.value.args[0], atol=1e-6)
