"""What happens at the edges: full queues, passed deadlines, a dead engine, an engine that closes."""

import math
import threading
import time
from dataclasses import replace

import pytest
from controllable_inference.core.baselines import MajorityVote, SingleSample
from controllable_inference.core.events import Done, Failed
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import Spawn
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.errors import (
    ControlConfigError,
    EngineClosed,
    EngineConfigError,
    EngineDead,
    QueueFull,
    RequestError,
)
from tiny_engines import make_tokenizer

LONG = MajorityVote(4, 200)


class Waiter:
    def __init__(self) -> None:
        self.events: list = []
        self.ended = threading.Event()

    def __call__(self, event) -> None:
        self.events.append(event)
        if isinstance(event, Done | Failed):
            self.ended.set()

    @property
    def last(self):
        assert self.ended.wait(60)
        return self.events[-1]


def test_a_full_queue_is_said_at_once(stepped):
    engine = stepped(LONG, max_concurrent_requests=1, queue_size=2)
    for _ in range(3):
        engine.submit("1+2=")
    with pytest.raises(QueueFull, match="3 requests"):
        engine.submit("1+2=")
    engine.run()
    engine.submit("1+2=")


def test_who_waits_too_long_is_told_so(stepped):
    engine = stepped(LONG, max_concurrent_requests=1, queue_timeout=600)
    engine.submit("1+2=", SamplingParams(seed=1))
    engine.step()
    late = engine.submit("1+2=")
    engine.core.outputs.clock = lambda: time.monotonic() + 601
    engine.step()
    assert late.events[-1].error == "QueueTimeout"
    assert late.kinds == ["failed"]
    assert engine.core.scheduler.waiting == type(engine.core.scheduler.waiting)()


def test_requests_wait_their_turn_and_first_come_is_first_served(stepped):
    engine = stepped(LONG, max_concurrent_requests=1)
    requests = [engine.submit("1+2=", SamplingParams(seed=n)) for n in range(3)]
    engine.step()
    assert [bool(r.events) for r in requests] == [True, False, False]
    assert engine.engine.stats().waiting == 2
    engine.run()
    assert all(r.kinds[-1] == "done" for r in requests)


def test_at_the_deadline_the_finished_paths_are_voted_on(stepped):
    engine = stepped(LONG)
    request = engine.submit("1+2=", SamplingParams(seed=5), RequestBudget(deadline=60))
    while "path_finished" not in request.kinds:
        engine.step()
    engine.core.outputs.clock = lambda: time.monotonic() + 60
    engine.step()
    assert request.result.usage.limited_by == "deadline"
    assert {p.fate for p in request.result.paths} == {"kept", "stopped"}
    assert request.result.answer
    assert [e.reason for e in request.events if e.type == "vote"] == ["deadline"]


def test_a_deadline_that_passes_in_the_queue_is_a_timeout(stepped):
    engine = stepped(LONG, max_concurrent_requests=1)
    engine.submit("1+2=")
    engine.step()
    late = engine.submit("1+2=", budget=RequestBudget(deadline=0.01))
    time.sleep(0.02)
    engine.step()
    assert late.events[-1].error == "DeadlineExceeded"


def test_a_prompt_longer_than_the_context_is_refused_by_its_field(stepped):
    engine = stepped(LONG)
    with pytest.raises(RequestError, match=r"^prompt: has 300 tokens, of 256 that fit"):
        engine.submit("1" * 300)
    with pytest.raises(RequestError, match=r"^prompt: holds no token"):
        engine.submit("")
    with pytest.raises(RequestError, match=r"^messages\[0\]\.content: must be a string"):
        engine.submit([{"role": "user", "content": 3}])


@pytest.mark.parametrize(
    ("prompt", "field"),
    [("1\ud83d", "prompt"), ([{"role": "user", "content": "1\udcff"}], "messages")],
)
def test_half_a_character_is_refused_by_its_field(stepped, prompt, field):
    with pytest.raises(RequestError, match=rf"^{field}: must be Unicode text, but has \\ud"):
        stepped(LONG).submit(prompt)


def test_a_prompt_is_read_no_further_than_it_takes_to_see_that_it_can_not_fit(stepped, monkeypatch):
    engine = stepped(LONG)
    read: list[int] = []
    tokenizer = engine.engine.prompts.tokenizer
    encode = tokenizer.encode
    monkeypatch.setattr(
        tokenizer, "encode", lambda text, **how: read.append(len(text)) or encode(text, **how)
    )
    with pytest.raises(RequestError, match=r"^prompt: has more than 512 tokens, of 256 that fit"):
        engine.submit("1" * 1_000_000)
    assert sum(read) < 10_000


def test_a_long_prompt_of_few_tokens_is_taken():
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["2" * 1000])
    ids = PromptRenderer(tokenizer, None, None).encode("2" * 20_000, room=64)
    assert len(ids.slow) == 20


def test_a_prompt_that_is_the_same_without_thinking_is_read_once(stepped, monkeypatch):
    engine = stepped(LONG)
    prompts = engine.engine.prompts
    read: list[str] = []
    encode = prompts.tokenizer.encode
    monkeypatch.setattr(
        prompts.tokenizer, "encode", lambda text, **how: read.append(text) or encode(text, **how)
    )
    monkeypatch.setattr(prompts, "think_end", None)
    engine.submit("1+2=")
    assert read == ["1+2="]


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("max_rows", 0, "at least 1, got 0"),
        ("max_rows", 2.5, "a whole number"),
        ("max_step_tokens", 255, r"at least 256 \(max_rows\), got 255"),
        ("block_size", 0, "at least 1"),
        ("kv_blocks", 1, "at least 2"),
        ("max_concurrent_requests", 0, "at least 1"),
        ("queue_size", -1, "at least 0"),
        ("queue_timeout", math.nan, "a number of seconds, got nan"),
    ],
)
def test_limits_that_no_engine_can_keep_are_refused_by_name(limit, value, said):
    with pytest.raises(EngineConfigError, match=f"^{limit} must be .*{said}"):
        EngineLimits(**{limit: value})


def test_paths_end_where_the_context_ends(stepped):
    engine = stepped(SingleSample(10_000))
    request = engine.submit("1" * 200, SamplingParams(temperature=0))
    engine.run()
    assert request.result.usage.completion_tokens <= 56


def test_a_dead_engine_fails_everyone_and_can_begin_again(engine_of):
    engine = engine_of(LONG)
    waiters = [Waiter() for _ in range(3)]
    engine.submit("1+2=", on_event=Waiter())
    engine._core.runner.forward = lambda *_: 1 / 0
    for waiter in waiters:
        try:
            engine.submit("1+2=", on_event=waiter)
        except EngineDead:
            waiter(Failed("EngineDead", ""))
    assert {w.last.error for w in waiters} == {"EngineDead"}
    assert not engine.alive
    assert not engine.stats().alive
    with pytest.raises(EngineDead, match="ZeroDivisionError"):
        engine.submit("1+2=")

    del engine._core.runner.forward
    engine.restart()
    assert engine.alive
    again = Waiter()
    engine.submit("1+2=", on_event=again)
    assert isinstance(again.last, Done)


def test_a_controller_that_fails_ends_its_own_request_only(stepped):
    class Broken(MajorityVote):
        def decide(self, request):
            raise ValueError("no idea")

    engine = stepped(LONG)
    fine = engine.submit("1+2=", SamplingParams(seed=1))
    broken = engine.submit("1+2=", SamplingParams(seed=1), controller=Broken(4, 200))
    engine.run()
    assert broken.events[-1] == Failed("ControllerError", "Broken raised ValueError: no idea")
    assert fine.kinds[-1] == "done"


def test_scores_that_are_no_numbers_fail_the_request_with_the_reason(stepped):
    from controllable_inference.core.allocation import BudgetRule
    from controllable_inference.core.controller import GatedController

    gated = GatedController(BudgetRule(4, 200, 4), lambda features: features[:, 0] * float("nan"))
    engine = stepped(gated)
    request = engine.submit("1+2=", SamplingParams(seed=1))
    engine.run()
    assert request.events[-1].error == ControlConfigError.__name__


def test_a_receiver_that_fails_does_not_harm_the_engine(stepped):
    engine = stepped(SingleSample(20))
    engine.engine.submit("1+2=", on_event=lambda event: 1 / 0)
    other = engine.submit("1+2=")
    engine.run()
    assert other.kinds[-1] == "done"


def test_a_closing_engine_finishes_what_it_can_and_takes_no_more(engine_of):
    engine = engine_of(MajorityVote(2, 30))
    waiter = Waiter()
    engine.submit("1+2=", on_event=waiter)
    engine.shutdown(drain_timeout=60)
    assert waiter.last.finish_reason != "cancelled"
    assert not engine.alive
    with pytest.raises(EngineClosed):
        engine.submit("1+2=")


def test_without_time_to_drain_what_runs_is_cancelled(engine_of):
    engine = engine_of(MajorityVote(2, 200))
    waiter = Waiter()
    engine.submit("1+2=", on_event=waiter)
    engine.shutdown(drain_timeout=0)
    assert waiter.last.finish_reason == "cancelled"


def test_no_more_paths_run_at_once_than_the_plan_allows_whatever_the_controller_may(stepped):
    class Greedy(MajorityVote):
        def __init__(self, at_once):
            super().__init__(16, 60)
            self.at_once = at_once
            self.running = []

        def plan(self, prompt):
            return replace(super().plan(prompt), paths=1, max_paths=self.at_once)

        def decide(self, request):
            self.running.append(len(request.running))
            return [Spawn(14)] if len(request.paths) < 8 else []

    engine = stepped(LONG)
    for at_once in (1, 5):
        engine.submit("1+2=", SamplingParams(seed=9), controller=(greedy := Greedy(at_once)))
        engine.run()
        assert max(greedy.running) == at_once


def test_a_sequential_controller_can_spawn_paths_one_after_another(stepped):
    class OneByOne(MajorityVote):
        def plan(self, prompt):
            return replace(super().plan(prompt), paths=1, max_paths=2)

        def decide(self, request):
            return [Spawn(1)] if not request.running and len(request.paths) < 3 else []

    engine = stepped(OneByOne(2, 60))
    together = engine.submit("1+2=", SamplingParams(seed=9), controller=MajorityVote(3, 60))
    apart = engine.submit("1+2=", SamplingParams(seed=9))
    engine.run()
    assert apart.texts == together.texts


def test_extreme_sampling_parameters_harm_nobody(stepped):
    engine = stepped(MajorityVote(2, 8))
    extremes = [
        SamplingParams(top_p=1e-50),
        SamplingParams(top_k=2**63),
        SamplingParams(temperature=1e-40),
    ]
    asked = [engine.submit("1+1=", sampling) for sampling in extremes]
    engine.run()
    assert all(request.kinds[-1] == "done" for request in asked)
