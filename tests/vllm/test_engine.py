"""What the vLLM engine promises: budgets honoured, nothing leaked, and one request's answers its own."""

from __future__ import annotations

import random
import threading
import time

import pytest
from controllable_inference.core.baselines import MajorityVote, SingleSample
from controllable_inference.core.events import Done, PathPruned
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import Close, Inject, Probe, Prune, Spawn, Stop
from controllable_inference.errors import AdapterError, ModelLoadError, RequestError
from controllable_inference.learn.driver import ask_all

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]


class Told(MajorityVote):
    """Does at each boundary what `decide_by(request)` says."""

    def __init__(self, paths, cap, decide_by, max_paths=None):
        super().__init__(paths, cap)
        self.decide_by = decide_by
        self.max_paths = max_paths
        self.most_paths = max_paths or paths

    def plan(self, prompt):
        from dataclasses import replace

        return replace(super().plan(prompt), max_paths=self.max_paths)

    def decide(self, request):
        return self.decide_by(request)


def questions(problems, count):
    return [[{"role": "user", "content": problem.question}] for problem in problems[:count]]


def no_blocks_used(model):
    return model.engine.stats().kv_blocks_used == 0


@pytest.mark.parametrize("engine", ["on_vllm", "native"])
def test_no_path_thinks_longer_than_its_budget_and_every_request_answers(engine, problems, request):
    model = request.getfixturevalue(engine)
    asked = (problems * 3)[:1000]
    results, _ = ask_all(
        model.engine,
        [problem.question for problem in asked],
        [SamplingParams(seed=number) for number in range(len(asked))],
        controller=SingleSample(400),
        budget=RequestBudget(thinking_tokens=32),
        concurrency=64,
    )
    assert len(results) == 1000
    assert max(result.usage.reasoning_tokens for result in results) == 32
    assert all(result.content for result in results)
    assert no_blocks_used(model)


def test_a_seeded_request_gets_the_same_answer_whatever_else_is_computed(on_vllm, problems):
    prompt = questions(problems, 1)[0]
    alone = on_vllm.generate(prompt, seed=5, controller=MajorityVote(6, 300))
    done = threading.Semaphore(0)
    others = [
        on_vllm.engine.submit(
            other,
            SamplingParams(seed=number),
            on_event=lambda event: isinstance(event, Done) and done.release(),
            controller=MajorityVote(4, 200),
        )
        for number, other in enumerate(questions(problems, 12))
    ]
    amid = on_vllm.generate(prompt, seed=5, controller=MajorityVote(6, 300))
    for _ in others:
        assert done.acquire(timeout=60)
    assert [path.text for path in amid.paths] == [path.text for path in alone.paths]


def test_a_pruned_path_writes_no_more_and_its_blocks_are_free_at_once(on_vllm, problems):
    rows = on_vllm.engine._core.rows
    seen = []

    def drop_the_second(request):
        running = [path.index for path in request.running]
        seen.append((rows.runner.free_blocks, len(rows._rows)))
        return [Prune(1, "test")] if 1 in running and request.paths[1].at_boundary else []

    result = on_vllm.generate(questions(problems, 1)[0], seed=3, controller=Told(4, 200, drop_the_second))
    pruned = result.paths[1]
    assert (pruned.fate, pruned.reason, pruned.steps) == ("pruned", "test", 1)
    # Not one token more than its first step, whose end it was pruned at.
    (tokens,) = [event.tokens for event in on_vllm_events(on_vllm, problems, drop_the_second)]
    assert tokens == pruned.tokens
    assert no_blocks_used(on_vllm)


def on_vllm_events(model, problems, decide_by):
    events = list(model.stream(questions(problems, 1)[0], seed=3, controller=Told(4, 200, decide_by)))
    return [event for event in events if isinstance(event, PathPruned)]


def test_paths_are_spawned_closed_and_written_into(on_vllm, problems):
    hint = " 2"
    done = set()

    def once(name, decision):
        return [] if name in done or done.add(name) else [decision]

    def decide_by(request):
        first = request.paths[0]
        if first.state != "running" or not first.at_boundary:
            return []
        if first.steps == 1:
            return once("spawn", Spawn(2)) + once("inject", Inject(0, hint))
        return once("close", Close(0, "enough")) if first.steps == 2 else []

    result = on_vllm.generate(questions(problems, 1)[0], seed=9, controller=Told(1, 300, decide_by, 3))
    first = result.paths[0]
    assert len(result.paths) == 3
    assert first.text[first.step_ends[0] :].startswith(hint)
    assert (first.closed, first.fate) == ("enough", "kept")
    assert "</think>" in first.text
    assert all(path.tokens for path in result.paths)
    assert no_blocks_used(on_vllm)


def test_a_trial_answers_beside_a_path_that_goes_on(on_vllm, problems):
    trials = []

    def decide_by(request):
        (path,) = request.paths
        trials[:] = path.trials
        return [Probe(0)] if path.state == "running" and path.at_boundary else []

    prompt = questions(problems, 1)[0]
    probed = on_vllm.generate(prompt, seed=2, controller=Told(1, 300, decide_by))
    plain = on_vllm.generate(prompt, seed=2, controller=Told(1, 300, lambda request: []))
    assert trials
    assert probed.usage.probe_tokens > 0
    assert any(trial.answer for trial in trials)
    assert probed.paths[0].text == plain.paths[0].text
    assert no_blocks_used(on_vllm)


def test_a_thousand_random_cancels_prunes_and_spawns_leak_nothing(on_vllm, problems):
    roll = random.Random(8)

    def whim(request):
        running = [path.index for path in request.running]
        match roll.randrange(12):
            case 0 | 1 if running:
                return [Prune(roll.choice(running), "whim")]
            case 2 if len(request.paths) < 20:
                return [Spawn(1)]
            case 3 if running:
                return [Close(roll.choice(running), "whim")]
            case 4 if running:
                return [Probe(roll.choice(running))]
            case 5 if running:
                return [Inject(roll.choice(running), "1")]
            case 6:
                return [Stop("whim")]
        return []

    ended = threading.Semaphore(0)
    prompts = questions(problems, 40)
    requests = 0
    for _ in range(25):
        handles = []
        for _ in range(40):
            handles.append(
                on_vllm.engine.submit(
                    roll.choice(prompts),
                    SamplingParams(seed=roll.randrange(10**6)),
                    on_event=lambda event: event.type in ("done", "failed") and ended.release(),
                    controller=Told(4, 120, whim, 6),
                )
            )
            requests += 1
        for handle in roll.sample(handles, 20):
            time.sleep(roll.random() / 50)
            handle.cancel()
        for _ in handles:
            assert ended.acquire(timeout=120)
    assert requests == 1000
    stats = on_vllm.engine.stats()
    assert (stats.kv_blocks_used, stats.running, stats.waiting) == (0, 0, 0)
    control = on_vllm.engine._core.outputs.control
    assert len(control._free) == len(control.newest)
    assert on_vllm.engine._core.rows.idle


def test_a_cancelled_request_takes_no_more_than_one_step(on_vllm, problems):
    events = []
    handle = on_vllm.engine.submit(
        questions(problems, 1)[0],
        SamplingParams(seed=1),
        on_event=events.append,
        controller=MajorityVote(8, 600),
    )
    while not any(event.type == "delta" for event in events):
        time.sleep(0.001)
    before = on_vllm.engine.stats().steps
    handle.cancel()
    deadline = time.monotonic() + 5
    while not isinstance(events[-1], Done):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert events[-1].finish_reason == "cancelled"
    assert on_vllm.engine.stats().steps - before <= 2
    assert no_blocks_used(on_vllm)


def test_a_deadline_ends_a_request_with_an_answer(on_vllm, problems):
    started = time.monotonic()
    result = on_vllm.generate(
        questions(problems, 1)[0], seed=1, deadline=0.05, controller=Told(2, 900, lambda request: [])
    )
    assert time.monotonic() - started < 2
    assert result.usage.limited_by == "deadline"
    assert result.content


def test_requests_that_need_more_memory_than_there_is_wait_for_each_other(on_vllm, problems):
    """Four times as many rows as fit: the youngest requests are preempted, and all answer."""
    rows = on_vllm.engine._core.rows
    taken = rows.runner.free_blocks - 40
    pool = rows.runner._pool
    held = pool.get_new_blocks(taken)
    try:
        results, _ = ask_all(
            on_vllm.engine,
            [problem.question for problem in problems[:24]],
            [SamplingParams(seed=number) for number in range(24)],
            controller=MajorityVote(4, 200),
            concurrency=24,
        )
    finally:
        pool.free_blocks(held)
    assert all(path.fate == "kept" for result in results for path in result.paths)
    assert all(result.content for result in results)
    assert no_blocks_used(on_vllm)


def test_without_hidden_states_control_runs_on_the_log_probabilities_that_vllm_tells(
    on_vllm, problems, monkeypatch
):
    """They are the observed ones, but for the entropy, of which vLLM tells the likeliest tokens' part."""
    seen = {}

    def note(request):
        for path in request.running:
            if path.at_boundary and path.statistics:
                seen[path.index, path.tokens] = (
                    path.statistic("step_logprob"),
                    path.statistic("step_confidence"),
                )
        return []

    controller = Told(3, 200, note)
    controller.needs_features = True
    controller.score = lambda features: features.new_zeros(len(features))
    prompt = questions(problems, 1)[0]
    on_vllm.generate(prompt, seed=6, controller=controller)
    observed = dict(seen)
    seen.clear()
    runner = on_vllm.engine._runner
    monkeypatch.setattr(runner, "observes", False)
    on_vllm.generate(prompt, seed=6, controller=controller)
    assert observed
    assert seen.keys() == observed.keys()
    for key, statistics in observed.items():
        assert seen[key] == pytest.approx(statistics, abs=1e-3)


def test_what_vllm_can_not_do_is_refused_by_name(on_vllm, monkeypatch, tmp_path):
    import vllm
    from controllable_inference.core.config import ControlSettings
    from controllable_inference.core.domain import DomainAdapter
    from controllable_inference.engines.vllm import model_runner
    from controllable_inference.engines.vllm.engine import VllmEngine

    with pytest.raises(AdapterError, match="give them to from_pretrained"):
        on_vllm.add_adapter(DomainAdapter("law"))
    with pytest.raises(RequestError, match="no adapter 'law' was added"):
        on_vllm.generate("1", adapter="law")
    with pytest.raises(ModelLoadError, match=r"has no config\.json"):
        VllmEngine.load(tmp_path, "auto", None, ControlSettings())
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ModelLoadError, match="pickled weights only"):
        VllmEngine.load(tmp_path, "auto", None, ControlSettings())
    monkeypatch.setattr(vllm, "__version__", "0.9.2")
    with pytest.raises(ModelLoadError, match=r"vLLM 0\.9\.2 is too old: 0\.32 is the oldest"):
        model_runner._import()
