"""A replay asks the same questions as the engine, shows the same views, and comes to the same end."""

from dataclasses import replace as changed

import pytest
import torch
from controllable_inference.core.agreement import ALONE
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.features import COMPARED, STATISTICS
from controllable_inference.core.request import SamplingParams
from controllable_inference.core.views import Prune, Spawn, Stop
from controllable_inference.learn.records import PathRecord, ProblemRecord
from controllable_inference.learn.replay import replay

PATHS, CAP = 24, 60


class Watching(MajorityVote):
    """Keeps every view it is shown."""

    needs_features = True
    needs_siblings = True

    def __init__(self, paths: int = PATHS) -> None:
        super().__init__(paths, CAP)
        self.seen: list = []

    def score(self, features):
        return features[:, STATISTICS.index("path_logprob") - len(STATISTICS)].exp()

    def decide(self, request):
        self.seen.append(request.paths)
        return []

    def answer(self, request):
        self.seen.append(request.paths)
        return super().answer(request)


class Erratic(Watching):
    """Starts with 3 paths, and prunes, spawns and stops by a hash of what it sees."""

    needs_features = False

    def __init__(self, salt: int) -> None:
        super().__init__(6)
        self.salt = salt

    def plan(self, prompt):
        return changed(super().plan(prompt), paths=3, max_paths=6)

    def decide(self, request):
        super().decide(request)
        roll = sum((p.tokens + 7 * p.steps + p.at_boundary) * (p.index + 3) for p in request.paths)
        roll = (roll * 31 + self.salt) % 97
        decisions = []
        if roll % 3 == 0 and len(request.paths) < PATHS - 6:
            decisions.append(Spawn(1 + roll % 4))
        if roll % 5 == 0 and request.running:
            decisions.append(Prune(request.running[roll % len(request.running)].index, "whim"))
        if roll % 17 == 0:
            decisions += [Prune(p.index, "all") for p in request.running]
        if roll % 19 == 0:
            decisions.append(Stop("whim"))
        return decisions


@pytest.fixture
def recorded(stepped):
    """`recorded(seed)`: a request whose paths nobody interrupted, and what it was seen to do."""

    def record(seed):
        watching = Watching()
        engine = stepped(watching, max_rows=64, kv_blocks=512)
        request = engine.submit("1+2=", SamplingParams(seed=seed))
        engine.run()
        paths = []
        for path in request.result.paths:
            moments = {}
            for view in (paths[path.index] for paths in watching.seen):
                if view.at_boundary:
                    moments[view.tokens] = view.statistics
            features = torch.tensor(list(moments.values())).reshape(-1, len(STATISTICS))
            paths.append(PathRecord(path.tokens, list(moments), features, path.answer, path.index % 2 == 0))
        return ProblemRecord("tiny", 0, "1+2=", torch.zeros(4, 32), paths, []), watching.seen, request.result

    return record


@pytest.mark.parametrize("seed", [1, 11])
def test_every_view_of_a_full_vote_is_the_same(recorded, seed):
    record, seen, result = recorded(seed)
    assert any(path.boundaries for path in record.paths)
    watching = Watching()
    outcome = replay(record, watching)
    assert watching.seen == seen
    assert outcome.tokens == result.usage.completion_tokens
    assert outcome.steps_latency == max(path.tokens for path in result.paths)


@pytest.mark.parametrize("seed", [1, 11])
def test_any_decisions_are_asked_for_and_done_at_the_same_moments(recorded, stepped, seed):
    record, _, _ = recorded(seed)
    running = [Erratic(salt) for salt in range(40)]
    engine = stepped(Watching(), kv_blocks=2048)
    requests = [
        engine.submit("1+2=", SamplingParams(seed=seed), controller=controller) for controller in running
    ]
    engine.run()
    spawned = pruned = stopped = 0
    for controller, request in zip(running, requests, strict=True):
        outcome = replay(record, replayed := Erratic(controller.salt))
        assert replayed.seen == controller.seen
        usage = request.result.usage
        assert outcome.tokens == usage.completion_tokens
        assert (outcome.started, outcome.pruned) == (usage.paths_started, usage.paths_pruned)
        assert outcome.stopped == usage.paths_stopped
        spawned += outcome.started > 3
        pruned += outcome.pruned > 0
        stopped += outcome.stopped > 0
    assert min(spawned, pruned, stopped) > 3


def test_features_that_compare_no_siblings_tell_of_each_path_alone_and_the_same_else(stepped):
    class Alone(Watching):
        needs_siblings = False

    beside, alone = Watching(), Alone()
    for watching in (beside, alone):
        engine = stepped(watching, max_rows=64, kv_blocks=512)
        engine.submit("1+2=", SamplingParams(seed=1))
        engine.run()
    assert len(beside.seen) == len(alone.seen)
    own = len(STATISTICS) - len(COMPARED)
    told = [
        (one.statistics, other.statistics)
        for views in zip(beside.seen, alone.seen, strict=True)
        for one, other in zip(*views, strict=True)
        if one.statistics
    ]
    assert told
    assert all(one[:own] == other[:own] for one, other in told)
    assert {other[own:] for _, other in told} == {(0.0, 0.0, 0.5, *ALONE)}
    assert any(one[own:] != other[own:] for one, other in told)
