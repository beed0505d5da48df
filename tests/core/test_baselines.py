"""Each baseline's decisions on requests made by hand; figures are worked out from the papers' formulas."""

from typing import Any

import pytest
import torch
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import (
    AdaptiveConsistency,
    BestOfN,
    DeepConf,
    EarlyStopping,
    GivenPrediction,
    LogProbPruning,
    OnlineDeepConf,
    Oracle,
    RandomPruning,
    ScorePruning,
    SelfTruncation,
    ShortestPruning,
    ShortM,
    StepScores,
    WeightedVote,
)
from controllable_inference.core.baselines.deepconf import confidence_bar
from controllable_inference.core.baselines.weighing import weighted_vote
from controllable_inference.core.controller import GatedController
from controllable_inference.core.features import STATISTICS, feature_dim
from controllable_inference.core.policy import STATE, Outlay, Policy, PolicyNet, PolicyPlan, lead
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import (
    PathView,
    Plan,
    PromptView,
    Prune,
    RequestView,
    Spawn,
    Stop,
)


def gate(features: Any) -> Any:
    return features[:, 0]


def view(
    index: int,
    state: str,
    scores: tuple[float, ...] = (),
    tokens: int = 10,
    steps: int | None = None,
    at_boundary: bool = False,
    answer: str | None = None,
    **statistics: float,
) -> PathView:
    values = tuple(statistics.get(name, 0.0) for name in STATISTICS) if statistics else None
    return PathView(
        index,
        state,  # type: ignore[arg-type]
        tokens,
        len(scores) if steps is None else steps,
        scores[-1] if scores else None,
        at_boundary,
        answer,
        answer,
        scores=scores,
        statistics=values,
    )


def running(index: int, *scores: float, at_boundary: bool = True, **more: Any) -> PathView:
    return view(index, "running", scores, at_boundary=at_boundary, **more)


def kept(index: int, answer: str | None, *scores: float, **more: Any) -> PathView:
    return view(index, "kept", scores, answer=answer, **more)


def request(*paths: PathView, at_once: int | None = None) -> RequestView:
    return RequestView(Plan(at_once or len(paths), 100, max_paths=at_once), paths)


def answers(text: str) -> list[PathView]:
    """Finished paths by their answers, one letter each; `-` is a path without."""
    return [kept(n, None if letter == "-" else letter) for n, letter in enumerate(text)]


def plan(controller: Any, temperature: float = 1.0, **budget: Any) -> Plan:
    return controller.plan(PromptView(5, None, 500, SamplingParams(temperature), RequestBudget(**budget)))


def pruned(decisions: list[Any]) -> list[int]:
    assert all(isinstance(d, Prune) for d in decisions)
    return sorted(d.path for d in decisions)


# sampling one after another


def test_who_samples_one_after_another_starts_with_a_few_and_heeds_limits():
    assert plan(AdaptiveConsistency(16)).paths == 1
    esc = EarlyStopping(16, window=5)
    assert (plan(esc).paths, plan(esc).max_paths, esc.most_paths) == (5, 5, 5)
    assert (plan(esc, max_paths=2).paths, plan(esc, max_paths=2).max_paths) == (2, 2)
    online = OnlineDeepConf(16, warmup=4, at_once=6)
    assert (plan(online).paths, plan(online).max_paths, online.most_paths) == (4, 6, 6)


def test_greedy_sampling_spawns_nothing_for_all_paths_would_be_equal():
    controller = AdaptiveConsistency(16)
    greedy = plan(controller, temperature=0)
    assert controller.decide(RequestView(greedy, tuple(answers("a")))) == []


def test_no_more_is_started_than_there_is_room_for_nor_than_is_left():
    controller = AdaptiveConsistency(6, threshold=1.0, at_once=4)
    assert controller.decide(request(*answers("ab"), running(2, at_boundary=False), at_once=4)) == [Spawn(3)]
    assert controller.decide(request(*answers("abcab"), at_once=4)) == [Spawn(1)]
    assert controller.decide(request(*answers("abcabc"), at_once=4)) == []


def test_at_a_boundary_nothing_is_started_while_something_runs():
    controller = AdaptiveConsistency(6, threshold=1.0, at_once=4)
    assert controller.decide(request(*answers("a"), running(1), at_once=4)) == []


# early-stopping self-consistency


def test_a_unanimous_window_stops_the_sampling():
    esc = EarlyStopping(16, window=3)
    assert esc.decide(request(*answers("aaa"), at_once=3)) == [Stop("unanimous")]
    assert esc.decide(request(*answers("aab"), at_once=3)) == [Spawn(3)]
    assert esc.decide(request(*answers("aabbbb"), at_once=3)) == [Stop("unanimous")]


def test_windows_do_not_overlap():
    assert EarlyStopping(16, window=3).decide(request(*answers("abbbaa"), at_once=3)) == [Spawn(3)]


def test_a_window_waits_for_all_of_its_paths():
    esc = EarlyStopping(16, window=3)
    assert esc.decide(request(*answers("aa"), running(2, at_boundary=False), at_once=3)) == []
    # with room for two at once, the third follows when one has ended
    half = request(kept(0, "a"), running(1, at_boundary=False), at_once=2)
    assert esc.decide(half) == [Spawn(1)]


def test_a_path_without_an_answer_dissents():
    assert EarlyStopping(16, window=3).decide(request(*answers("aa-"), at_once=3)) == [Spawn(3)]
    assert EarlyStopping(6, window=3).decide(request(*answers("------"), at_once=3)) == []


def test_the_unanimous_window_answers_and_without_one_all_vote():
    esc = EarlyStopping(8, window=2)
    assert esc.answer(request(*answers("acadaebb"))).winner == 6  # a has 3 of 8 votes, b the only window
    assert esc.answer(request(*answers("acadaebc"))).winner == 0


def test_a_last_window_that_is_cut_short_votes_but_cannot_agree():
    esc = EarlyStopping(4, window=3)
    assert esc.decide(request(*answers("aab"), at_once=3)) == [Spawn(1)]
    last = request(*answers("aabb"), at_once=3)
    assert esc.decide(last) == []
    assert esc.answer(last).weights == {"a": 2, "b": 2}


# adaptive consistency


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [
        (0, 0, 1 / 2),
        (1, 0, 3 / 4),  # 1 - (1/2)^2
        (2, 0, 7 / 8),
        (3, 0, 15 / 16),
        (4, 0, 31 / 32),
        (2, 1, 11 / 16),  # 12 [x^3/3 - x^4/4] from 1/2 to 1
        (5, 1, 15 / 16),  # 42 [x^6/6 - x^7/7] from 1/2 to 1
        (3, 3, 1 / 2),
    ],
)
def test_the_leader_stays_ahead_with_the_probability_of_the_beta_posterior(first, second, probability):
    assert lead(first, second) == pytest.approx(probability, abs=1e-12)


def test_the_closed_form_is_the_integral():
    x = torch.linspace(0.5, 1, 200_001, dtype=torch.float64)
    whole = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    for first, second in ((7, 3), (12, 2), (9, 7)):
        upper = torch.trapezoid(x**first * (1 - x) ** second, x)
        total = torch.trapezoid(whole**first * (1 - whole) ** second, whole)
        assert lead(first, second) == pytest.approx(float(upper / total), abs=1e-8)


@pytest.mark.parametrize(
    ("threshold", "seen", "stops"),
    [
        (0.95, "aaa", False),
        (0.95, "aaaa", True),
        (0.93, "aaaaab", True),
        (0.95, "aaaaab", False),
        (0.75, "a", True),
        (0.68, "aab", True),
        (0.69, "aab", False),
        (0.68, "aa-b", True),
    ],
)
def test_sampling_stops_once_the_leader_is_probably_the_majority(threshold, seen, stops):
    decision = AdaptiveConsistency(16, threshold).decide(request(*answers(seen), at_once=1))
    assert decision == ([Stop("settled")] if stops else [Spawn(1)])


def test_with_several_at_once_the_rest_is_stopped_too():
    seen = request(*answers("aaaa"), running(4, at_boundary=False), at_once=5)
    assert AdaptiveConsistency(16, 0.95, at_once=5).decide(seen) == [Stop("settled")]


# DeepConf


def confident(index: int, answer: str, lowest: float, tail: float = 9.0) -> PathView:
    return kept(index, answer, lowest_step_confidence=lowest, step_confidence=tail)


FIVE = [confident(n, a, c) for n, (a, c) in enumerate(zip("xxxyz", (1.0, 2.0, 3.0, 4.0, 5.0), strict=True))]


def test_the_bar_is_an_interpolated_percentile():
    assert confidence_bar([1, 2, 3, 4, 5], keep=40) == 3.4  # rank 0.6 * 4 = 2.4
    assert confidence_bar([1, 2, 3, 4, 5], keep=100) == 1
    assert confidence_bar([5, 4, 3, 2, 1, 0], keep=10) == 4.5


def test_the_most_confident_paths_vote_weighed_by_their_confidence():
    narrow = DeepConf(5, keep=40).answer(request(*FIVE))
    assert narrow.weights == {"y": 4.0, "z": 5.0}
    assert (narrow.winner, narrow.confidence) == (4, pytest.approx(5 / 9))
    wide = DeepConf(5, keep=100).answer(request(*FIVE))
    assert wide.weights == {"x": 6.0, "y": 4.0, "z": 5.0}


def test_tail_confidence_is_that_of_the_last_step():
    paths = [confident(0, "x", 5, tail=1), confident(1, "y", 1, tail=2)]
    assert DeepConf(2, keep=10, measure="lowest").answer(request(*paths)).winner == 0
    assert DeepConf(2, keep=10, measure="tail").answer(request(*paths)).winner == 1


def test_without_any_step_deepconf_is_a_plain_vote():
    assert DeepConf(3, keep=10).answer(request(*answers("xyy"))).weights == {"x": 1, "y": 2}
    assert OnlineDeepConf(3, warmup=3).answer(request(*answers("xyy"))).weights == {"x": 1, "y": 2}


def warmed_up(*later: PathView) -> RequestView:
    """Bar 3.5: the median of 2, 3, 4, 5. Of the warm-up 4 votes for a and 5 for b."""
    warm = [confident(0, "a", 2), confident(1, "b", 3), confident(2, "a", 4), confident(3, "b", 5)]
    return request(*warm, *later, at_once=4)


def test_warm_up_paths_are_never_cut():
    controller = OnlineDeepConf(8, keep=50, warmup=4)
    view = request(*FIVE[:3], running(3, step_confidence=0.1), at_once=4)
    assert controller.decide(view) == []


def test_later_paths_are_cut_at_a_step_under_the_bar():
    controller = OnlineDeepConf(8, keep=50, warmup=4, at_once=2)
    assert controller.decide(warmed_up()) == [Spawn(2)]
    low, high = running(4, step_confidence=3.49), running(5, step_confidence=3.5)
    assert controller.decide(warmed_up(low, high)) == [Prune(4, "confidence")]
    # when nothing else runs, the next ones start at once
    assert controller.decide(warmed_up(low)) == [Prune(4, "confidence"), Spawn(2)]


def test_consensus_among_those_above_the_bar_stops_it():
    def decide(consensus: float, *later: PathView) -> Any:
        return OnlineDeepConf(8, 50, warmup=4, consensus=consensus, at_once=1).decide(warmed_up(*later))

    assert decide(0.55) == [Stop("consensus")]  # b: 5 of 9
    assert decide(0.56) == [Spawn(1)]
    # b: 5 + 6 of 15; a path whose confidence fell under the bar does not vote
    assert decide(0.73, confident(4, "b", 6)) == [Stop("consensus")]
    assert decide(0.74, confident(4, "b", 6)) == [Spawn(1)]
    assert decide(0.73, confident(4, "b", 3.4)) == [Spawn(1)]


def test_online_votes_are_weighed_by_the_lowest_confidence():
    answer = OnlineDeepConf(8, keep=50, warmup=4).answer(warmed_up(confident(4, "a", 6)))
    assert answer.weights == {"a": 10.0, "b": 5.0}


# gate without pruning


def test_votes_weigh_what_the_gate_says():
    paths = [kept(0, "x", 0.9, 0.5), kept(1, "x", 0.1), kept(2, "y", 0.2, 0.7)]
    answer = WeightedVote(gate, 3).answer(request(*paths))
    assert answer.weights == pytest.approx({"x": 0.6, "y": 0.7})
    assert answer.winner == 2


def test_a_path_of_unknown_worth_has_no_say_unless_none_is_known():
    paths = [kept(0, "x"), kept(1, "x"), kept(2, "y", 0.2)]
    assert weighted_vote(paths, lambda p: p.score).winner == 2
    assert weighted_vote(paths[:2], lambda p: p.score).weights == {"x": 2}
    assert weighted_vote(answers("--"), lambda p: p.score).winner is None


def test_the_best_path_answers_alone():
    paths = [kept(0, "x", 0.5), kept(1, "x", 0.6), kept(2, "y", 0.7), kept(3, None, 0.9), running(4, 0.99)]
    answer = BestOfN(gate, 5).answer(request(*paths))
    assert (answer.winner, answer.confidence) == (2, pytest.approx(1 / 3))
    assert BestOfN(gate, 2).answer(request(*answers("--"))).winner is None


# pruning at a rate


def unlikely(index: int, logprob: float, steps: int = 2) -> PathView:
    return running(index, steps=steps, path_logprob=logprob)


def test_the_least_likely_share_goes_once_all_have_ended_the_step():
    four = [unlikely(0, -0.5), unlikely(1, -0.9), unlikely(2, -0.1), unlikely(3, -0.7)]
    assert pruned(LogProbPruning(4, 0.5).decide(request(*four))) == [1, 3]
    assert pruned(LogProbPruning(4, 0.62).decide(request(*four))) == [1, 3]  # 2.48 paths are 2
    assert LogProbPruning(4, 0.5).decide(request(*four[:3], unlikely(3, -0.7, steps=1))) == []


def test_it_happens_once():
    view = request(unlikely(0, -0.5), unlikely(1, -0.9), unlikely(2, -0.1), PathView(3, "pruned", 5, 2, None))
    assert LogProbPruning(4, 0.75).decide(view) == []


def test_what_has_finished_cannot_be_pruned_and_does_not_hold_up():
    view = request(kept(0, "a", steps=1), unlikely(1, -0.9), unlikely(2, -0.1))
    assert pruned(LogProbPruning(3, 0.7).decide(view)) == [1, 2]  # 2.1 paths, and path 0 stays


def test_no_path_of_the_share_is_lost_to_rounding():
    fifty = [unlikely(n, -n) for n in range(50)]
    assert len(LogProbPruning(50, 0.58).decide(request(*fifty))) == 29


def test_a_rate_that_leaves_nothing_is_refused():
    for make in (LogProbPruning, ShortestPruning, RandomPruning):
        with pytest.raises(ValueError, match=r"\[0, 1\)"):
            make(4, 1.0)


def test_random_pruning_draws_by_seed_and_request_and_not_by_what_else_happens():
    def draws(seed: int, tokens: int) -> list[int]:
        paths = [running(n, steps=2, tokens=tokens) for n in range(8)]
        return pruned(RandomPruning(8, 0.5, seed=seed).decide(request(*paths)))

    assert draws(0, 20) == draws(0, 20)
    assert all(len(draws(0, tokens)) == 4 for tokens in range(20, 40))
    assert len({tuple(draws(0, tokens)) for tokens in range(20, 40)}) > 10
    assert len({tuple(draws(seed, 20)) for seed in range(20)}) > 10
    often = torch.zeros(8)
    for tokens in range(2000):
        often[draws(0, tokens)] += 1
    assert (often / 2000 - 0.5).abs().max() < 0.05  # four standard errors


def test_log_probability_scores_are_mean_token_probabilities():
    features = torch.zeros(2, feature_dim(3))
    features[:, 6 + STATISTICS.index("path_logprob")] = torch.tensor([0.0, -0.6931472])
    assert LogProbPruning(4, 0.5).score(features).tolist() == pytest.approx([1.0, 0.5])


# shortest paths


def ended(index: int, answer: str | None, tokens: int) -> PathView:
    return kept(index, answer, tokens=tokens)


def test_the_first_m_that_end_stop_the_rest():
    controller = ShortM(5, m=2)
    assert controller.decide(request(ended(0, "a", 9), running(1), running(2))) == []
    assert controller.decide(request(ended(0, "a", 9), running(1), ended(2, None, 5))) == []
    done = request(ended(0, "a", 9), running(1), ended(2, "b", 7), ended(3, None, 5))
    assert controller.decide(done) == [Stop("shortest")]


def test_among_equal_votes_the_shortest_path_wins():
    answer = ShortM(5, m=3).answer(request(ended(0, "a", 9), ended(1, "b", 7), ended(2, "c", 8)))
    assert answer.winner == 1
    late = [ended(0, "a", 9), ended(1, "b", 7), ended(2, "a", 8), ended(3, "b", 99), ended(4, "b", 99)]
    assert ShortM(5, m=3).answer(request(*late)).weights == {"b": 1, "a": 2}


def test_shortest_pruning_drops_the_same_share_as_any_other():
    controller = ShortestPruning(8, 0.62)  # 4.96 paths are 4
    assert controller.decide(request(*[ended(n, "a", 9) for n in range(3)], *map(running, range(3, 8)))) == []
    view = request(*[ended(n, "a", 9) for n in range(4)], *map(running, range(4, 8)))
    assert pruned(controller.decide(view)) == [4, 5, 6, 7]


# step scores


def test_the_mean_of_the_step_scores_falls_under_the_threshold_and_not_the_latest():
    controller = StepScores(gate, 4, threshold=0.3)
    view = request(running(0, 0.5, 0.1), running(1, 0.5, 0.11), running(2, 0.1, 0.45), running(3, 0.9, 0.9))
    assert controller.decide(view) == [Prune(2, "step_score"), Prune(0, "step_score")]  # 0.275, 0.3


def test_pruning_by_step_scores_keeps_a_few_and_leaves_young_paths_and_those_mid_step():
    low = [running(0, 0.1, 0.1), running(1, 0.2, 0.1), running(2, 0.0)]
    assert pruned(StepScores(gate, 3, threshold=0.3, min_keep=2).decide(request(*low))) == [0]
    mid = [running(0, 0.1, 0.1, at_boundary=False), running(1, 0.9, 0.9), running(2, 0.9, 0.9)]
    assert StepScores(gate, 3, threshold=0.3).decide(request(*mid)) == []


def test_when_the_memory_is_full_the_lowest_mean_goes_until_it_fits():
    paths = [running(n, *s, tokens=100) for n, s in enumerate([(0.9,), (0.2, 0.4), (0.6,), (0.2,)])]
    assert StepScores(gate, 4, memory=400).decide(request(*paths)) == []
    assert pruned(StepScores(gate, 4, memory=399).decide(request(*paths))) == [3]
    assert pruned(StepScores(gate, 4, memory=200).decide(request(*paths))) == [1, 3]
    assert pruned(StepScores(gate, 4, memory=1).decide(request(*paths))) == [1, 2, 3]
    unscored = [running(0, tokens=100), running(1, tokens=100)]
    assert StepScores(gate, 2, memory=1).decide(request(*unscored)) == []


def test_what_the_threshold_drops_frees_memory_too():
    paths = [running(0, 0.1, 0.1, tokens=100), running(1, 0.5, 0.5, tokens=100), running(2, 0.9, tokens=100)]
    controller = StepScores(gate, 3, memory=200, threshold=0.3)
    assert controller.decide(request(*paths)) == [Prune(0, "step_score")]


def test_votes_weigh_the_mean_step_score():
    paths = [kept(0, "x", 0.8, 0.4), kept(1, "y", 0.1, 0.9)]
    assert StepScores(gate, 2).answer(request(*paths)).weights == pytest.approx({"x": 0.6, "y": 0.5})


def test_pruning_by_score_at_a_rate_goes_by_the_mean_or_by_the_latest():
    paths = [running(0, 0.9, 0.1), running(1, 0.2, 0.3)]
    assert pruned(ScorePruning(gate, 2, 0.5, "mean").decide(request(*paths))) == [1]
    assert pruned(ScorePruning(gate, 2, 0.5, "latest").decide(request(*paths))) == [0]


# self-truncation


def test_after_the_window_only_the_path_closest_to_the_others_goes_on():
    controller = SelfTruncation(3, window=2)
    early = request(running(0, 0.5, 0.2), running(1, 0.5), running(2, 0.5, 0.9))
    assert controller.decide(early) == []
    due = request(running(0, 0.5, 0.2), running(1, 0.5, 0.6), running(2, 0.5, 0.9))
    assert pruned(controller.decide(due)) == [0, 1]


def test_closeness_is_that_of_the_window_whatever_comes_after():
    view = request(running(0, 0.5, 0.8, 0.1), running(1, 0.5, 0.7), running(2, 0.5, 0.8, 0.9))
    assert pruned(SelfTruncation(3, window=2).decide(view)) == [1, 2]


def test_a_path_that_has_ended_within_the_window_may_be_the_closest():
    view = request(kept(0, "a", 0.9), running(1, 0.5, 0.7), running(2, 0.5, 0.8))
    assert SelfTruncation(3, window=2).decide(view) == [Stop("closest")]
    after = request(kept(0, "a", 0.9), view.paths[1], kept(2, "b", 0.5, 0.95))
    assert SelfTruncation(3, window=2).answer(after).winner == 2


def test_the_one_that_goes_on_answers_alone():
    controller = SelfTruncation(3, window=2)
    ended_early = kept(0, "a", 0.1)
    view = request(ended_early, running(1, 0.5, 0.7), view_pruned(2))
    assert controller.decide(view) == []
    answer = controller.answer(request(ended_early, kept(1, "b", 0.5, 0.7, 0.0), view_pruned(2)))
    assert answer.winner == 1
    assert controller.answer(RequestView(Plan(1, 100), ())).winner is None


def view_pruned(index: int) -> PathView:
    return view(index, "pruned", (0.5, 0.99))


# budgets and oracle


def shipped(policy: Policy | None = None) -> GatedController:
    rule = BudgetRule(base_paths=8, base_tokens=100, max_paths=16)
    return GatedController(rule, lambda features: features[:, 0], policy=policy)


def test_a_given_prediction_stands_where_the_predictors_would():
    few, many = GivenPrediction(shipped(), 0.25), GivenPrediction(shipped(), 2.0)
    assert (plan(few).paths, plan(few).token_cap) == (2, 50)
    assert (plan(many).paths, plan(many).token_cap) == (16, 200)
    assert plan(many, coefficient=0.5).paths == 4  # a client's word goes before any prediction
    assert few.answer(request(*answers("abb"))).winner == 1


def test_under_a_policy_a_given_prediction_is_a_guess_and_takes_no_paths_away():
    policy = Policy(PolicyNet(len(STATE)), Outlay(start_paths=2.0, at_once=4))
    few, many = (plan(GivenPrediction(shipped(policy), c)) for c in (0.25, 2.0))
    assert isinstance(few, PolicyPlan)
    assert isinstance(many, PolicyPlan)
    assert (few.paths, few.total, few.coefficient) == (2, 8, 0.25)
    assert (many.paths, many.total, many.coefficient) == (4, 16, 2.0)
    assert plan(shipped(policy), coefficient=0.25) != few  # that of a client is a limit


def test_the_oracle_stops_at_the_first_right_answer():
    oracle = Oracle(lambda answer: answer == "b", 4)
    assert plan(oracle).paths == 4
    assert oracle.decide(request(*answers("a"), running(1), at_once=4)) == []
    found = request(*answers("aab"), running(3), at_once=4)
    assert oracle.decide(found) == [Stop("right")]
    assert oracle.answer(found).winner == 2
    assert oracle.answer(request(*answers("aa-"))).winner == 0


def test_one_by_one_the_oracle_takes_no_path_too_many():
    oracle = Oracle(lambda answer: answer == "b", 4, at_once=1)
    assert plan(oracle).paths == 1
    assert oracle.decide(request(*answers("aa"), at_once=1)) == [Spawn(1)]
    assert oracle.decide(request(*answers("aaaa"), at_once=1)) == []
