from dataclasses import replace as changed

import pytest
import torch
from controllable_inference.bench.systems import FastSample
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.controller import GatedController
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.request import RequestBudget
from controllable_inference.core.views import Answer, Prune, Spawn, Stop
from controllable_inference.errors import ControlConfigError, ControllerError
from controllable_inference.learn import records
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.replay import prepare, replay


def path(answer, scores, tokens, right):
    """A path in whose features all is its score; steps of ten tokens."""
    boundaries = [10 * (n + 1) for n in range(len(scores))]
    features = torch.tensor(scores)[:, None].expand(-1, len(STATISTICS))
    return PathRecord(tokens, boundaries, features, answer, right, f"text of {answer}")


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
    outcome = replay(RECORD, gated(4, threshold=None, weight=None))
    # Two votes for 4 at 35 tokens, two paths open: not settled. At 45 it is 2 : 1 with one open.
    assert outcome.stopped == 0
    three = problem(*RECORD.paths[:2], RECORD.paths[3])
    assert replay(three, gated(3, threshold=None, weight=None)).stopped == 1


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


class Scripted(MajorityVote):
    """Says what the script has for when it is asked: tokens of the longest path, whether at a boundary."""

    def __init__(self, paths, script, most=16, at_once=16):
        super().__init__(paths)
        self.most_paths = most
        self.at_once = at_once
        self.script = script
        self.asked = []

    def plan(self, prompt):
        return changed(super().plan(prompt), max_paths=self.at_once)

    def decide(self, request):
        now = max(p.tokens for p in request.paths)
        self.asked.append((now, [p.state for p in request.paths], any(p.at_boundary for p in request.paths)))
        return self.script.pop((now, self.asked[-1][2]), [])


def test_a_spawned_path_is_the_next_recorded_one_and_starts_when_it_is_asked_for():
    one_by_one = Scripted(1, {(35, False): [Spawn(1)]})
    outcome = replay(problem(*RECORD.paths[:2]), one_by_one)
    assert (outcome.started, outcome.tokens, outcome.steps_latency) == (2, 70, 70)
    side_by_side = replay(problem(*RECORD.paths[:2]), MajorityVote(2))
    assert (side_by_side.tokens, side_by_side.steps_latency) == (70, 35)


def test_what_is_spawned_at_a_boundary_starts_with_the_token_after_it():
    early = Scripted(1, {(10, True): [Spawn(2)]})
    outcome = replay(RECORD, early)
    assert (outcome.started, outcome.tokens) == (3, 35 + 35 + 45)
    assert outcome.steps_latency == 11 + 45


def test_no_more_paths_run_at_once_than_the_controller_its_plan_or_the_request_allows():
    assert replay(RECORD, Scripted(1, {(10, True): [Spawn(3)]}, most=2)).started == 2
    assert replay(RECORD, Scripted(1, {(10, True): [Spawn(3)]}, at_once=2)).started == 2
    script = {(10, True): [Spawn(3)]}
    assert replay(RECORD, Scripted(1, script), RequestBudget(max_paths=3)).started == 3


def test_spawning_more_than_was_recorded_is_refused():
    with pytest.raises(ValueError, match="controller wants 5 paths, only 4 were recorded"):
        replay(RECORD, Scripted(1, {(10, True): [Spawn(4)]}))


def test_a_stop_ends_the_request_at_once_and_whatever_was_still_to_start():
    outcome = replay(RECORD, Scripted(2, {(20, True): [Spawn(1), Stop("enough"), Prune(0)]}))
    assert (outcome.started, outcome.stopped, outcome.pruned) == (2, 2, 0)
    assert (outcome.tokens, outcome.steps_latency, outcome.right) == (40, 20, False)


def test_decisions_are_asked_for_when_paths_end_and_when_steps_end():
    asked = Scripted(2, {})
    replay(problem(RECORD.paths[0], path("5", [0.1] * 4, 40, False)), asked)
    running, kept = ["running", "running"], ["kept", "running"]
    assert asked.asked == [
        (10, running, True),
        (20, running, True),
        (30, running, True),
        (35, kept, False),
        (40, ["kept", "kept"], False),
    ]


class Onlooker(GatedController):
    """Keeps the views it is asked to answer."""

    def answer(self, request):
        self.seen = request
        return super().answer(request)


def test_a_view_tells_scores_and_statistics_up_to_the_latest_boundary_and_no_time():
    rule = BudgetRule(2, 1000, 2, fast_threshold=0)
    onlooker = Onlooker(rule, lambda features: features[:, 0], threshold=0.3, min_steps=2, min_keep=1)
    replay(problem(RECORD.paths[0], RECORD.paths[2]), onlooker)
    whole, cut = onlooker.seen.paths
    assert (whole.state, cut.state, cut.reason) == ("kept", "pruned", "gate")
    assert (whole.scores, cut.scores, cut.score) == ((0.9, 0.9, 0.9), (0.8, 0.2), 0.2)
    assert cut.statistic("rank") == pytest.approx(0.2)
    assert onlooker.seen.time_left is None


def test_a_prepared_record_gives_the_same_as_the_record_and_is_scored_once():
    calls = []

    def score(features):
        calls.append(len(features))
        return features[:, 0]

    ready = prepare(RECORD, score)
    assert calls == [12]
    for threshold in (0.1, 0.3, 0.5):
        settings = {"threshold": threshold, "min_steps": 1, "min_keep": 1}
        assert replay(ready, gated(4, **settings)) == replay(RECORD, gated(4, **settings))
    assert calls == [12]
    with pytest.raises(ValueError, match="GatedController needs scores"):
        replay(prepare(RECORD, None), gated(4))


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_that_the_engine_would_refuse_are_refused_here(score):
    odd = problem(path("4", [0.9, score], 35, True))
    with pytest.raises(ControlConfigError, match=r"score .*, outside \[0, 1\]"):
        replay(odd, gated(1))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("decide", None),
        ("decide", [Prune(4)]),
        ("decide", [Spawn(0)]),
        ("answer", Answer(4, 1.0, {})),
        ("plan", None),
    ],
)
def test_what_the_engine_would_refuse_is_refused_here(method, said):
    controller = MajorityVote(4)
    setattr(controller, method, lambda view: said)
    with pytest.raises(ControllerError, match=rf"^MajorityVote\.{method} gave "):
        replay(RECORD, controller)


def test_records_come_back_from_disk_as_they_were(tmp_path):
    records.save([RECORD], tmp_path / "records.pt")
    (loaded,) = records.load(tmp_path / "records.pt")
    assert loaded.question == RECORD.question
    assert loaded.pass_rate == 0.75
    assert [p.boundaries for p in loaded.paths] == [p.boundaries for p in RECORD.paths]
    assert torch.equal(loaded.paths[0].features, RECORD.paths[0].features)
    assert loaded.paths[0].text == "text of 4"


def test_records_of_other_statistics_are_refused_with_what_to_do(tmp_path):
    torch.save([{"family": "gcd"}], tmp_path / "first version.pt")
    torch.save({"statistics": ["rank"], "problems": []}, tmp_path / "another.pt")
    for file in tmp_path.iterdir():
        with pytest.raises(records.RecordsError, match=f"{file.name} .* delete it and record anew"):
            records.load(file)
