"""Each baseline on recorded paths made by hand: what it spends, whom it drops, and whether it is right."""

from typing import Any

import pytest
import torch
from controllable_inference.bench.systems import (
    gate_systems,
    oracle_systems,
    plain_systems,
    recorded_verdicts,
)
from controllable_inference.core.baselines import (
    AdaptiveConsistency,
    BestOfN,
    DeepConf,
    EarlyStopping,
    LogProbPruning,
    MajorityVote,
    OnlineDeepConf,
    RandomPruning,
    ScorePruning,
    SelfTruncation,
    ShortestPruning,
    ShortM,
    StepScores,
    WeightedVote,
)
from controllable_inference.core.features import STATISTICS
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.replay import replay

QUESTION = "2 + 2?"


def gate(features: Any) -> Any:
    return features[:, 0]


def path(answer: str | None, tokens: int, **by_step: list[float]) -> PathRecord:
    """A path with steps of ten tokens; `gate` and statistics by step, 0.5 where not given."""
    boundaries = list(range(10, tokens, 10))
    features = torch.full((len(boundaries), 1 + len(STATISTICS)), 0.5)
    for name, values in by_step.items():
        column = 0 if name == "gate" else 1 + STATISTICS.index(name)
        features[: len(values), column] = torch.tensor(values)
    return PathRecord(tokens, boundaries, features, answer, answer == "4")


def problem(*paths: PathRecord) -> ProblemRecord:
    return ProblemRecord("gcd", 0, QUESTION, torch.zeros(3, 4), list(paths), [])


def four(name: str = "", *values: list[float]) -> ProblemRecord:
    """4, 4, 5, 4 in 35, 35, 45, 55 tokens: 170 in all."""
    given = [{name: v} for v in values] if name else [{}, {}, {}, {}]
    ends = (("4", 35), ("4", 35), ("5", 45), ("4", 55))
    return problem(*[path(*end, **more) for end, more in zip(ends, given, strict=True)])


def spent(record: ProblemRecord, controller: Any) -> tuple[int, int, int, int]:
    """Paths started, pruned, stopped; tokens."""
    done = replay(record, controller)
    return done.started, done.pruned, done.stopped, done.tokens


def test_adaptive_consistency_pays_for_one_path_after_another():
    assert spent(four(), AdaptiveConsistency(4, 0.75)) == (1, 0, 0, 35)
    assert spent(four(), AdaptiveConsistency(4, 0.8)) == (2, 0, 0, 70)  # 2:0 is 0.875
    assert spent(four(), AdaptiveConsistency(4, 0.9)) == (4, 0, 0, 170)  # 2:1 is 0.69, 3:1 is 0.81
    # side by side, two have answered when the others stand at 35 tokens
    assert spent(four(), AdaptiveConsistency(4, 0.8, at_once=4)) == (4, 0, 2, 140)


def test_esc_pays_for_whole_windows():
    assert spent(four(), EarlyStopping(4, 2)) == (2, 0, 0, 70)
    assert spent(four(), EarlyStopping(4, 3)) == (4, 0, 0, 170)
    split = problem(path("5", 15), path("4", 15), path("4", 15), path("4", 25), path("5", 15))
    assert spent(split, EarlyStopping(5, 2)) == (4, 0, 0, 70)
    assert replay(split, EarlyStopping(5, 2)).right


def test_what_waits_for_others_takes_as_long_as_they_take():
    def latency(controller: Any) -> int:
        return replay(four(), controller).steps_latency

    assert latency(MajorityVote(4)) == 55
    assert latency(AdaptiveConsistency(4, 0.9)) == 170
    assert latency(EarlyStopping(4, 3)) == 45 + 55


def test_short_m_stops_when_the_mth_path_has_ended():
    assert spent(four(), ShortM(4, 1)) == (4, 0, 2, 140)
    assert spent(four(), ShortM(4, 3)) == (4, 0, 1, 35 + 35 + 45 + 45)
    assert spent(four(), ShortestPruning(4, 0.25)) == (4, 1, 0, 35 + 35 + 45 + 45)


def test_the_least_likely_half_goes_at_the_second_step():
    logprobs = four("path_logprob", [-0.3, -0.3], [-0.8, -0.4], [-0.1, -0.9], [-0.2, -0.7])
    done = replay(logprobs, LogProbPruning(4, 0.5, after=2))
    assert (done.pruned, done.tokens) == (2, 35 + 35 + 20 + 20)
    assert (done.all_right, done.kept_right) == (3, 2)


def test_random_pruning_comes_out_the_same_every_time():
    def drop(seed: int) -> tuple[int, int]:
        done = replay(four(), RandomPruning(4, 0.5, after=2, seed=seed))
        assert done.pruned == 2
        return done.tokens, done.kept_right

    assert len({drop(0) for _ in range(5)}) == 1
    # 40 tokens of two pruned paths, and two of 35, 35, 45, 55
    assert {drop(seed)[0] for seed in range(60)} == {110, 120, 130, 140}


def test_deepconf_offline_saves_nothing_and_believes_the_confident():
    confident = four("lowest_step_confidence", [2.0, 1.0, 1.0], [1.0, 1.0, 1.0], [5.0] * 4, [4.0] * 5)
    half = replay(confident, DeepConf(4, keep=50))  # bar 2.5: 5 with weight 5, 4 with weight 4
    everyone = replay(confident, DeepConf(4, keep=100))  # 4 with weight 6
    assert (half.right, everyone.right) == (False, True)
    assert half.tokens == everyone.tokens == 170


def test_deepconf_online_cuts_after_the_warm_up():
    def steps(answer: str, tokens: int, *confidence: float) -> PathRecord:
        lowest = [min(confidence[: n + 1]) for n in range(len(confidence))]
        return path(answer, tokens, step_confidence=list(confidence), lowest_step_confidence=lowest)

    doubtful = problem(
        steps("4", 35, 7, 5, 6), steps("5", 45, 5, 5, 5, 6), steps("5", 45, 6, 4.9), steps("4", 55, *[6] * 5)
    )
    controller = OnlineDeepConf(4, keep=50, warmup=2)  # bar 5
    assert spent(doubtful, controller) == (4, 1, 0, 35 + 45 + 20 + 55)
    done = replay(doubtful, controller)
    assert done.right  # 4: 5 + 6, 5: 5
    assert done.steps_latency == 45 + 55
    sure = problem(steps("4", 35, 7, 5, 6), steps("4", 45, 5, 5, 5, 6), *doubtful.paths[2:])
    assert spent(sure, controller) == (2, 0, 0, 80)


def test_a_gate_alone_weighs_or_picks():
    record = four("gate", [0.9, 0.9, 0.4], [0.1, 0.2, 0.3], [0.1, 0.1, 0.1, 0.8], [0.2] * 5)
    assert replay(record, WeightedVote(gate, 4)).right  # 0.4 + 0.3 + 0.2 against 0.8
    assert not replay(record, BestOfN(gate, 4)).right


def test_step_scores_prune_by_their_mean():
    record = four("gate", [0.9, 0.1, 0.1], [0.9] * 3, [0.4, 0.1], [0.5, 0.2, 0.1])
    # path 2 at 20 tokens (0.25), path 3 at 30 (0.267); path 0 has 0.367 after three steps
    assert spent(record, StepScores(gate, 4, threshold=0.3)) == (4, 2, 0, 35 + 35 + 20 + 30)
    # at 20 tokens each the four hold 80
    assert spent(record, StepScores(gate, 4, memory=79)) == (4, 2, 0, 35 + 35 + 20 + 30)
    assert spent(record, ScorePruning(gate, 4, 0.5)) == (4, 2, 0, 35 + 35 + 20 + 20)
    assert spent(record, ScorePruning(gate, 4, 0.5, "latest")) == (4, 2, 0, 20 + 35 + 20 + 55)


def test_only_the_path_closest_to_the_others_goes_on():
    record = four("path_agreement", [0.5, 0.6], [0.5, 0.8], [0.5, 0.1], [0.5, 0.8])
    assert spent(record, SelfTruncation(4, window=2)) == (4, 3, 0, 20 + 35 + 20 + 20)
    assert replay(record, SelfTruncation(4, window=2)).right
    # after 40 tokens the first two have ended, and one of those is the closest
    late = SelfTruncation(4, window=4)
    assert spent(record, late) == (4, 0, 2, 35 + 35 + 40 + 40)


def test_the_oracle_is_right_wherever_any_path_is():
    wrong = problem(path("5", 15), path("5", 25), path("4", 35), path("5", 15))
    hopeless = problem(path("5", 15), path(None, 25), path("6", 35), path("5", 15))
    together, apart = oracle_systems(recorded_verdicts([wrong]), 1000, 4)
    assert spent(wrong, together.controller_for(QUESTION)) == (4, 0, 0, 90)
    assert spent(wrong, apart.controller_for(QUESTION)) == (3, 0, 0, 75)
    assert replay(wrong, apart.controller_for(QUESTION)).right
    for system in oracle_systems(recorded_verdicts([hopeless]), 1000, 4):
        assert not replay(hopeless, system.controller_for(QUESTION)).right


@pytest.mark.parametrize(
    "system", [*plain_systems(1000, 4), *gate_systems(gate, 1000, 4)], ids=lambda system: system.name
)
def test_every_listed_system_can_be_replayed(system):
    record = ProblemRecord("gcd", 0, QUESTION, torch.zeros(3, 4), four().paths, [path("4", 5)])
    done = replay(record, system.controller_for(QUESTION))
    assert 1 <= done.started <= 4
    assert 0 < done.tokens <= 170
    assert system.timing == "sequential" or done.steps_latency <= 55
