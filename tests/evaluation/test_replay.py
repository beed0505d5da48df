import pytest
import torch
from controllable_inference.control.allocation import BudgetRule
from controllable_inference.control.baselines import MajorityVote
from controllable_inference.control.controller import GatedController
from controllable_inference.evaluation import records
from controllable_inference.evaluation.records import PathRecord, ProblemRecord
from controllable_inference.evaluation.replay import replay
from controllable_inference.evaluation.systems import FastSample


def path(answer, scores, tokens, right):
    """A path whose only feature is its score; steps of ten tokens."""
    boundaries = [10 * (n + 1) for n in range(len(scores))]
    return PathRecord(tokens, boundaries, torch.tensor(scores)[:, None], answer, right)


def problem(*paths, fast=()):
    return ProblemRecord("gcd", 0, "?", torch.zeros(3, 4), list(paths), list(fast))


def gated(paths, **settings):
    rule = BudgetRule(base_paths=paths, base_tokens=1000, max_paths=paths, fast_threshold=0)
    return GatedController(rule, lambda features: features[:, 0], **settings)


RECORD = problem(
    path("4", [0.9, 0.9, 0.9], 35, True),
    path("4", [0.5, 0.6, 0.7], 35, True),
    path("5", [0.8, 0.2, 0.1], 45, False),
    path("4", [0.4, 0.25, 0.6], 55, True),
)


def test_full_voting_takes_every_token_of_every_path():
    outcome = replay(RECORD, MajorityVote(4))
    assert outcome.right
    assert (outcome.tokens, outcome.started, outcome.pruned, outcome.stopped) == (170, 4, 0, 0)
    assert (outcome.all_right, outcome.kept_right) == (3, 3)


def test_a_pruned_path_is_charged_to_the_boundary_at_which_it_went_and_counts_against_recall():
    outcome = replay(RECORD, gated(4, threshold=0.3, min_steps=2, min_keep=2))
    assert outcome.pruned == 2  # both at 20 tokens
    assert outcome.tokens == 35 + 35 + 20 + 20
    assert (outcome.all_right, outcome.kept_right) == (3, 2)
    assert outcome.right


def test_the_guard_keeps_paths_however_low_they_score():
    outcome = replay(RECORD, gated(4, threshold=1.0, min_steps=1, min_keep=3))
    assert outcome.pruned == 1


def test_paths_that_cannot_change_the_vote_are_stopped():
    outcome = replay(RECORD, gated(4, threshold=None, weighted=False))
    # Two votes for 4 at 35 tokens, two paths open: not settled. At 45 it is 2 : 1 with one open.
    assert outcome.stopped == 0
    three = problem(*RECORD.paths[:2], RECORD.paths[3])
    assert replay(three, gated(3, threshold=None, weighted=False)).stopped == 1


def test_a_path_over_the_token_cap_has_no_answer():
    outcome = replay(RECORD, MajorityVote(4, token_cap=40))
    assert outcome.tokens == 35 + 35 + 40 + 40
    assert not replay(problem(RECORD.paths[3]), MajorityVote(1, token_cap=40)).right


def test_fast_mode_is_replayed_from_fast_paths():
    record = problem(path("4", [0.5], 30, True), fast=[path("9", [], 3, False)])
    outcome = replay(record, FastSample())
    assert (outcome.fast, outcome.right, outcome.tokens) == (True, False, 3)


def test_a_plan_that_wants_more_than_was_recorded_is_refused():
    with pytest.raises(ValueError, match="only 4 were recorded"):
        replay(RECORD, MajorityVote(5))


def test_records_come_back_from_disk_as_they_were(tmp_path):
    records.save([RECORD], tmp_path / "records.pt")
    (loaded,) = records.load(tmp_path / "records.pt")
    assert loaded.question == RECORD.question
    assert loaded.pass_rate == 0.75
    assert [p.boundaries for p in loaded.paths] == [p.boundaries for p in RECORD.paths]
    assert torch.equal(loaded.paths[0].features, RECORD.paths[0].features)
