from typing import Any

from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote, SingleSample
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.core.features import RANK, STATISTICS, feature_dim
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, Plan, PromptView, Prune, RequestView, Stop

RULE = BudgetRule(8, 100, 8)


def controller(**options: Any) -> GatedController:
    return GatedController(RULE, confidence_rank, **options)


def running(index: int, score: float | None, steps: int = 3, at_boundary: bool = True) -> PathView:
    return PathView(index, "running", 9, steps, score, at_boundary)


def finished(index: int, answer: str, score: float = 1.0) -> PathView:
    return PathView(index, "kept", 9, 3, score, answer=answer, key=answer)


def request(*paths: PathView) -> RequestView:
    return RequestView(Plan(len(paths), 100), paths)


def test_paths_at_or_under_the_threshold_are_pruned():
    view = request(running(0, 0.31), running(1, 0.3), running(2, 0.1), running(3, 0.9))
    assert controller().decide(view) == [Prune(2), Prune(1)]


def test_at_least_min_keep_paths_survive_and_they_are_the_best():
    view = request(running(0, 0.2), running(1, 0.1), running(2, 0.05))
    assert controller(min_keep=2).decide(view) == [Prune(2)]


def test_finished_paths_count_as_kept():
    view = request(finished(0, "4", 0.5), finished(1, "5", 0.5), running(2, 0.1), running(3, 0.9))
    assert controller(min_keep=3).decide(view) == [Prune(2)]


def test_young_unscored_and_mid_step_paths_are_left_alone():
    view = request(
        running(0, 0.1, steps=1), running(1, None), running(2, 0.1, at_boundary=False), running(3, 0.9)
    )
    assert controller(min_keep=1, min_steps=2).decide(view) == []


def test_a_settled_vote_stops_the_request():
    view = request(finished(0, "5"), finished(1, "5"), finished(2, "5"), running(3, 0.9), running(4, 0.9))
    assert controller().decide(view) == [Stop("decided")]
    assert controller(threshold=None).decide(view) == [Stop("decided")]


def test_without_a_gate_the_vote_is_plain_and_with_one_it_is_weighted():
    view = request(finished(0, "4", 0.9), finished(1, "5", 0.3), finished(2, "5", 0.3))
    assert controller(weight=None).answer(view).winner == 1
    assert controller().answer(view).winner == 0


def test_confidence_rank_reads_the_rank_feature():
    import torch

    features = torch.zeros(2, feature_dim(4))
    features[1, 8 + RANK] = 0.75
    assert confidence_rank(features).tolist() == [0.0, 0.75]
    assert STATISTICS[RANK] == "rank"


def test_majority_voting_neither_prunes_nor_stops():
    view = request(finished(0, "5"), finished(1, "5"), finished(2, "5"), running(3, 0.0))
    assert MajorityVote(4).decide(view) == []


def test_baselines_take_their_paths_whatever_the_effort_but_heed_limits():
    def paths(controller: Any, **budget: Any) -> int:
        return controller.plan(PromptView(5, None, 500, SamplingParams(), RequestBudget(**budget))).paths

    assert paths(MajorityVote(12), effort="none") == 12
    assert paths(MajorityVote(12), max_paths=5) == 5
    assert paths(SingleSample()) == 1
