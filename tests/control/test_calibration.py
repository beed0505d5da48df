import torch
from controllable_inference.control.calibration import Calibration
from hypothesis import given
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
