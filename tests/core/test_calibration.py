import numpy as np
import torch
from controllable_inference.core.calibration import Calibration, Promise, least_patience, recall_threshold
from hypothesis import given, settings
from hypothesis import strategies as st

samples = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60)


@given(samples)
def test_a_fitted_calibration_never_decreases_and_stays_a_probability(pairs):
    scores, outcomes = zip(*pairs, strict=True)
    calibration = Calibration.fit(scores, outcomes, [1.0] * len(scores))
    mapped = calibration(torch.linspace(-1, 2, 50))
    assert (mapped.diff() >= -1e-6).all()
    assert ((mapped >= 0) & (mapped <= 1)).all()


def test_scores_that_are_right_half_of_the_time_mean_one_half():
    calibration = Calibration.fit([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0], [1, 1, 1, 1])
    assert torch.allclose(calibration(torch.tensor([0.9, 0.1])), torch.tensor([0.5, 0.0]))


def test_weights_count_as_often_as_they_say():
    calibration = Calibration.fit([0.5, 0.5], [1, 0], [3, 1])
    assert calibration(torch.tensor([0.5])).item() == 0.75


def test_a_promised_probability_reads_as_the_default_threshold_and_nothing_changes_places():
    promise = Promise(0.08)
    scores = promise(torch.tensor([0.0, 0.04, 0.08, 0.54, 1.0]))
    assert torch.allclose(scores, torch.tensor([0.0, 0.15, 0.3, 0.65, 1.0]))
    assert [round(promise.probability_of(score), 6) for score in scores.tolist()] == [0, 0.04, 0.08, 0.54, 1]


def test_the_threshold_for_a_recall_spends_what_the_bound_allows_and_no_more():
    # 199 problems with one right path each: (199 * loss + 1) / 200 <= 0.05 leaves 9 of them to be lost.
    lowest = [[score / 1000] for score in range(1, 200)]
    assert recall_threshold(lowest, 0.95) == 0.009
    # Two right paths a problem: losing one loses half a problem, so twice as many may go.
    assert recall_threshold([[s / 1000, 0.9] for s in range(1, 200)], 0.95) == 0.018


def test_equal_scores_are_lost_together_or_not_at_all():
    assert recall_threshold([[0.2]] * 10 + [[0.8]] * 189, 0.95) == 0.0
    assert recall_threshold([[0.2]] * 9 + [[0.8]] * 190, 0.95) == 0.2


def test_too_few_problems_for_a_bound_prune_nothing():
    assert recall_threshold([[0.5]] * 18, 0.95) == 0.0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_right_paths_of_new_problems_are_kept_as_promised(seed):
    rng = np.random.default_rng(seed)

    def draw(problems):
        return [rng.beta(4, 2, size=rng.integers(1, 17)).tolist() for _ in range(problems)]

    lost = []
    for _ in range(60):
        threshold = recall_threshold(draw(100), 0.9)
        lost += [np.mean(np.array(scores) <= threshold) for scores in draw(50)]
    assert np.mean(lost) <= 0.1 + 0.012  # four standard errors of this mean


def test_scores_beyond_the_outermost_ones_seen_keep_their_order():
    calibration = Calibration.fit([0.4, 0.6], [0.2, 0.8], [1, 1])
    assert (calibration(torch.linspace(0, 1, 21)).diff() > 0).all()


def test_the_smallest_patience_that_keeps_the_promise_is_chosen_from_the_largest_down():
    # 300 problems, 5 % allowed: up to 8 lost answers reject "the risk is greater" at level 0.05.
    assert least_patience([60, 30, 8, 3, 0], 300, 0.05) == 3
    assert least_patience([60, 30, 9, 3, 0], 300, 0.05) == 4
    # A larger patience that fails ends the walk, whatever smaller ones look like by chance.
    assert least_patience([0, 0, 20, 0], 300, 0.05) == 4


def test_too_few_problems_promise_nothing():
    assert least_patience([0, 0, 0], 30, 0.05) is None
    assert least_patience([0, 0, 0], 59, 0.05) == 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=4, deadline=None)
def test_the_promised_risk_is_broken_no_more_often_than_said(seed):
    """Over many calibrations, the true risk of what is chosen is too high in at most 5 of 100."""
    rng = np.random.default_rng(seed)
    risks = np.array([0.3, 0.2, 0.12, 0.08, 0.05, 0.03])  # of patience 1, 2, ...
    broken = 0
    for _ in range(400):
        chosen = least_patience(rng.binomial(200, risks).tolist(), 200, 0.1)
        broken += chosen is not None and risks[chosen - 1] > 0.1
    assert broken / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
