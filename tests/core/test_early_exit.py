"""When a path's trial answers end its thinking. On values; `engines/test_closing.py` has it on an engine."""

import pytest
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.views import Close, PathView, Plan, Probe, Prune, RequestView, Stop, Trial


def path(*answers, steps=4, at_boundary=True, index=0):
    trials = tuple(Trial(10 * n, answer, answer) for n, answer in enumerate(answers, start=1))
    return PathView(index, "running", 50, steps, None, at_boundary=at_boundary, trials=trials)


def decide(*paths, inner=(), **settings):
    controller = EarlyExit(MajorityVote(4), **settings)
    controller.controller.decide = lambda request: list(inner)
    return controller.decide(RequestView(Plan(len(paths), 100), paths))


def test_a_trial_is_asked_for_at_the_end_of_every_so_many_steps():
    assert decide(path(steps=4), every=2) == [Probe(0)]
    assert decide(path(steps=5), every=2) == []
    assert decide(path(steps=4, at_boundary=False), every=2) == []


@pytest.mark.parametrize(
    ("answers", "closed"),
    [
        (("5", "5"), False),  # too few
        (("5", "5", "5"), True),
        (("4", "5", "5", "5"), True),
        (("5", "5", "5", "4"), False),  # it changed its mind
        (("5", None, "5"), False),
        ((None, None, None), False),  # three times nothing is no answer
    ],
)
def test_a_path_is_closed_when_its_latest_trials_agree(answers, closed):
    (decision,) = decide(path(*answers), patience=3)
    assert (decision == Close(0, "consensus")) == closed
    assert closed or decision == Probe(0)


def test_it_is_closed_as_soon_as_the_trial_has_ended_not_at_the_next_step():
    assert decide(path("5", "5", at_boundary=False), patience=2) == [Close(0, "consensus")]


def test_what_never_agrees_is_given_up():
    assert decide(path("1", "2", "3"), patience=2, give_up=3) == [Close(0, "gave_up")]
    assert decide(path("1", "2"), patience=2, give_up=3) == [Probe(0)]


def test_each_path_goes_by_its_own_trials():
    assert decide(path("5", "5"), path("5", "4", index=1), patience=2) == [Close(0, "consensus"), Probe(1)]


def test_what_the_other_controller_decides_still_holds():
    assert decide(path("5", "5"), inner=[Prune(0)], patience=2) == [Prune(0)]
    assert decide(path("5", "5"), inner=[Stop()], patience=2) == [Stop()]


@pytest.mark.parametrize("setting", ["every", "patience", "give_up"])
def test_settings_that_mean_nothing_are_refused(setting):
    with pytest.raises(ValueError, match="must be at least 1"):
        EarlyExit(MajorityVote(4), **{setting: 0})
