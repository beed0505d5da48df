from dataclasses import replace

import pytest
import torch
from controllable_inference.learn.budget import BudgetRecipe, predict, target, train_budget
from controllable_inference.learn.gate import (
    GateRecipe,
    calibrate,
    calibration_error,
    discrimination,
    lowest_scores,
    pairwise_loss,
    train_gate,
)
from controllable_inference.learn.records import PathRecord, ProblemRecord

EASY, TELLING, NOISE = range(3)  # features: how easy the problem is, whether the path is right, nothing


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def problems(count, seed):
    """Problems whose features say how easy they are and, weakly, which path is right."""
    random = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        ease = torch.rand((), generator=random)
        paths = []
        for _ in range(8):
            right = bool(torch.rand((), generator=random) < ease)
            features = torch.randn(4, 3, generator=random)
            features[:, EASY] = 100 + 50 * ease  # far from standardised, as hidden states may be
            features[:, TELLING] += 2.0 if right else -2.0
            paths.append(PathRecord(45, [10, 20, 30, 40], features, "4" if right else "5", right))
        hidden = torch.randn(6, 5, generator=random) + 4 * ease
        fast = [PathRecord(3, [], torch.zeros(0, 3), "4", bool(ease > 0.9))]
        made.append(ProblemRecord("gcd", 0, "?", hidden, paths, fast))
    return made


def test_the_pairwise_loss_compares_paths_of_one_problem_only():
    logits, outcomes = torch.tensor([2.0, 0.0, -5.0]), torch.tensor([1.0, 0.0, 0.0])
    loss = pairwise_loss(logits, outcomes, torch.tensor([0, 0, 1]))
    assert loss == pytest.approx(torch.nn.functional.softplus(torch.tensor(-2.0)).item())
    assert pairwise_loss(logits, outcomes, torch.tensor([0, 1, 1])) == 0


def test_a_gate_learns_to_tell_paths_of_one_problem_apart_and_takes_raw_features():
    gate, _ = train_gate(problems(80, 1), problems(20, 2), GateRecipe(steps=300), 0)
    for figures in discrimination(gate, problems(30, 3)).values():
        assert figures["within"] > 0.9
        assert figures["pooled"] > 0.9
    scores = gate(torch.tensor([[[125.0, 2.0, 0.0], [125.0, -2.0, 0.0]]]))[0]
    assert scores[0] > 0.7 > 0.3 > scores[1]


def test_steps_may_come_late_and_to_few_problems():
    late = [
        replace(path, tokens=4000, boundaries=[3000, 3100, 3200, 3300]) for path in problems(1, 1)[0].paths
    ]
    slow = replace(problems(1, 1)[0], paths=late)
    stepless = replace(slow, paths=[replace(late[0], boundaries=[], features=torch.zeros(0, 3))])
    gate, loss = train_gate([stepless] * 40 + [slow], [stepless, slow], GateRecipe(steps=10), 0)
    assert 0 < loss < float("inf")
    assert discrimination(gate, [slow])


def test_calibrated_scores_mean_what_they_say():
    gate, _ = train_gate(problems(60, 1), problems(20, 2), GateRecipe(steps=150), 0)
    mapping = calibrate(gate, problems(100, 4), min_steps=1)
    assert list(mapping.y) == sorted(mapping.y)
    told, came = [], []
    for record in problems(100, 5):
        for path in record.paths:
            told.append(mapping(gate(path.features[None])[0])[1].item())
            came.append(path.right)
    low = [right for score, right in zip(told, came, strict=True) if score <= 0.3]
    high = [right for score, right in zip(told, came, strict=True) if score > 0.7]
    assert sum(low) / len(low) < 0.2
    assert sum(high) / len(high) > 0.8


def test_the_budget_target_is_nothing_for_the_easy_and_most_for_the_hopeless():
    def record(right, fast_right):
        paths = [PathRecord(9, [], torch.zeros(0, 3), "", r) for r in right]
        fast = [PathRecord(9, [], torch.zeros(0, 3), "", fast_right)]
        return ProblemRecord("gcd", 0, "?", torch.zeros(1, 1), paths, fast)

    assert target(record([True, True], fast_right=True)) == 0
    assert target(record([True, True], fast_right=False)) == 0.4
    assert target(record([True, False], fast_right=False)) == pytest.approx(1.2)
    assert target(record([False, False], fast_right=False)) == 2.0


def test_a_budget_predictor_learns_to_see_what_is_hard():
    predictor, error = train_budget(problems(100, 1), problems(30, 2), BudgetRecipe(steps=150))
    assert error < 0.45
    unseen = problems(30, 3)
    coefficients = predict(predictor, unseen)
    order = sorted(range(30), key=lambda n: unseen[n].pass_rate)
    hard, easy = order[:8], order[-8:]
    assert sum(coefficients[n] for n in hard) > 2 * sum(coefficients[n] for n in easy)


def test_the_calibration_error_is_the_gap_between_what_is_said_and_what_comes():
    def path(score, right):
        return PathRecord(45, [20, 40], torch.tensor([[0.5], [score]]), "4", right)

    paths = [path(0.8, True), path(0.8, False), path(0.2, False), path(0.2, False)]
    record = ProblemRecord("gcd", 0, "?", torch.zeros(2, 3), paths, [])
    # From step 2 on: 0.8 is said where 0.5 comes, 0.2 where 0 comes.
    error = calibration_error(lambda features: features[:, 0], [record], min_steps=2, bins=2)
    assert error == pytest.approx((0.3 + 0.2) / 2)


def test_the_lowest_scores_are_those_of_right_paths_once_they_may_be_pruned():
    def path(scores, right):
        return PathRecord(45, [20, 40, 60], torch.tensor(scores)[:, None], "4", right)

    records = [
        ProblemRecord("gcd", 0, "?", torch.zeros(2, 3), [path([0.1, 0.6, 0.7], True), path([0.9], True)], []),
        ProblemRecord("gcd", 0, "?", torch.zeros(2, 3), [path([0.3, 0.3, 0.2], False)], []),
    ]
    assert lowest_scores(lambda f: f[:, 0], records, min_steps=2) == [[pytest.approx(0.6), 1.0]]
