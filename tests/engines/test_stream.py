from dataclasses import replace

import pytest
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote, SingleSample
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import Answer, Spawn
from controllable_inference.engines.detokenizer import Detokenizer, GrowingText
from controllable_inference.engines.stream import visible
from controllable_inference.errors import RequestError
from hypothesis import given
from hypothesis import strategies as st
from tiny_engines import make_tokenizer

GATED = GatedController(BudgetRule(6, 60, 6), confidence_rank, weight=None, min_steps=1)


def joined(request, kind, path=None):
    return "".join(
        e.text for e in request.events if e.type == "delta" and e.kind == kind and path in (None, e.path)
    )


@given(st.text("ab<>/ \n", max_size=40), st.text("ab \nX", max_size=30))
def test_what_was_shown_of_a_growing_text_is_never_taken_back(thought, said):
    text = thought + "</end>" + said
    shown = [visible(text[:n], "</end>", ["X"], ended=False) for n in range(len(text) + 1)]
    cut = text if "X" not in said else text[: text.index("X", len(thought))]
    final = visible(cut, "</end>", ["X"], ended=True)
    for reasoning, content in shown:
        assert final[0].startswith(reasoning)
        if "X" not in said:
            assert final[1].startswith(content)


def test_stop_strings_have_a_length_at_which_comparing_costs_nothing():
    with pytest.raises(RequestError, match=r"stop: must have at most 1000 characters in all, got 1200"):
        SamplingParams(stop=["a" * 600, "b" * 600])
    assert visible("x" * 9 + "ab", None, ["abc" + "d" * 997], ended=False) == ("", "x" * 9)


def test_answer_deltas_joined_are_the_content(stepped):
    for controller in (GATED, SingleSample(60)):
        engine = stepped(controller)
        for seed in range(4):
            request = engine.submit("1+2=", SamplingParams(seed=seed))
            engine.run()
            assert joined(request, "answer") == request.result.content
            assert joined(engine_run_silent(engine, seed), "answer") == request.result.content


def test_the_answer_of_a_path_streams_unless_others_may_still_be_started(stepped):
    def parts(controller):
        engine = stepped(controller)
        requests = [engine.submit("1+2=", SamplingParams(seed=seed)) for seed in range(8)]
        engine.run()
        assert all(joined(r, "answer") == r.result.content for r in requests)
        return [sum(e.type == "delta" and e.kind == "answer" for e in r.events) for r in requests]

    assert max(parts(SingleSample(60))) > 1
    assert max(parts(Second(60))) == 1


class Second(SingleSample):
    """Starts another path when one has ended, and answers with that."""

    def plan(self, prompt):
        return replace(super().plan(prompt), max_paths=1)

    def decide(self, request):
        return [Spawn(1)] if len(request.paths) == 1 and not request.running else []

    def answer(self, request):
        return Answer(len(request.paths) - 1, 1.0, {})


def engine_run_silent(engine, seed):
    request = engine.submit("1+2=", SamplingParams(seed=seed), streaming=False)
    engine.run()
    assert "leading" not in request.kinds
    return request


def test_the_leaders_reasoning_streams_and_a_new_leader_begins_with_its_text_so_far(stepped):
    hasty = GatedController(BudgetRule(6, 60, 6), confidence_rank, weight=None, min_steps=1, threshold=0.8)
    engine = stepped(hasty)
    changed = 0
    for seed in range(12):
        request = engine.submit("1+2=", SamplingParams(seed=seed))
        engine.run()
        leaders = [e.path for e in request.events if e.type == "leading"]
        changed += len(leaders) > 1
        assert leaders == sorted(set(leaders))
        last = request.result.paths[leaders[-1]]
        assert joined(request, "reasoning", last.index) == last.text.partition("</think>")[0]
    assert changed


def test_trace_none_tells_no_path_events_and_full_tells_every_paths_text(stepped):
    engine = stepped(MajorityVote(3, 30))
    quiet = engine.submit("1+2=", SamplingParams(seed=1), RequestBudget(trace="none"))
    full = engine.submit("1+2=", SamplingParams(seed=1), RequestBudget(trace="full"))
    engine.run()
    assert set(quiet.kinds) <= {"leading", "delta", "done"}
    for path in full.result.paths:
        assert joined(full, "reasoning", path.index) == path.text.partition("</think>")[0]


def test_events_come_in_order_and_done_is_the_last(stepped):
    engine = stepped(GATED)
    request = engine.submit("1+2=", SamplingParams(seed=3))
    engine.run()
    kinds = request.kinds
    assert kinds[:6] == ["path_started"] * 6
    assert kinds.index("vote") > max(n for n, k in enumerate(kinds) if k.startswith("path_"))
    assert kinds.count("done") == 1
    assert kinds[-1] == "done"
    assert all(e.to_json()["type"] == e.type for e in request.events)


def test_a_stop_string_ends_a_path_after_its_thinking_only(stepped):
    engine = stepped(MajorityVote(8, 80))
    free = engine.submit("1+2=", SamplingParams(seed=2), streaming=False)
    engine.run()
    thought, _, said = next(t for t in free.texts if t.partition("</think>")[2].strip()).partition("</think>")
    stop = said[len(said) // 2]
    request = engine.submit("1+2=", SamplingParams(seed=2, stop=(stop,)), streaming=False)
    engine.run()
    path = next(p for p in request.result.paths if p.text.startswith(thought + "</think>"))
    assert path.reason == "stop"
    assert path.text == thought + "</think>" + said[: said.index(stop)]


@given(st.lists(st.integers(2, 70), max_size=30))
def test_text_grown_token_by_token_is_the_text_decoded_at_once(tokens):
    detokenizer = Detokenizer(_cached(make_tokenizer))
    growing = GrowingText(detokenizer, [5, 6, 7])
    for n in range(len(tokens) + 1):
        growing.advance(tokens[:n])
    assert growing.text == detokenizer.after([5, 6, 7], tokens)


_made: dict = {}


def _cached(make):
    return _made.setdefault(make, make())
