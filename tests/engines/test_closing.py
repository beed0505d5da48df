"""Thinking that is ended by force: caps, budgets, deadlines and controllers close paths, and kill none."""

import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.baselines import MajorityVote, SingleSample
from controllable_inference.core.config import ClosingConfig, ControlConfig
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import (
    Close,
    Decision,
    Inject,
    Plan,
    Probe,
    PromptView,
    RequestView,
    Stop,
)
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import RequestError
from talker import talker
from tiny_engines import Stepped, make_engine

CLOSING = ":</think>="
"""Three tokens, none of which the talker draws in its thinking but the middle one."""


class Thinks(MajorityVote):
    """A vote that keeps a share of the cap for answers, and does as `decisions` says at each asking."""

    def __init__(
        self, paths: int, cap: int, decisions: Iterable[list[Decision]] = (), share: float = 0.25
    ) -> None:
        super().__init__(paths, cap)
        self.rule = replace(self.rule, answer_share=share)
        self.decisions = iter(decisions)

    def decide(self, request: RequestView) -> list[Decision]:
        return next(self.decisions, [])


@pytest.fixture(scope="module")
def thinker():
    """Thinks in lines of twos for as long as it may, and answers with one digit."""
    return talker()


@pytest.fixture
def engine(thinker, tokenizer):
    def make(controller, **config):
        running = make_engine(thinker, tokenizer, controller, **config)
        control = ControlConfig(closing=ClosingConfig(text=CLOSING))
        running.vocabulary = Vocabulary.of(running._runner.model, tokenizer, control)
        running._begin()
        return Stepped(running)

    return make


def thought(path) -> int:
    """Tokens it thought: the tiny tokenizer has one for each character, and one for `</think>`."""
    return len(path.text.split(CLOSING)[0] if path.closed else path.text.split("</think>")[0])


@pytest.mark.parametrize("budget", [1, 3, 8])
def test_no_path_thinks_longer_than_its_budget_and_every_one_answers(engine, budget):
    running = engine(Thinks(6, 100))
    requests = [
        running.submit("1+2=", SamplingParams(seed=seed), RequestBudget(thinking_tokens=budget))
        for seed in range(20)
    ]
    running.run()
    paths = [path for request in requests for path in request.result.paths]
    assert max(map(thought, paths)) == budget
    assert sum(path.closed == "length" for path in paths) > 20
    assert all(request.result.content for request in requests)
    assert all(r.result.usage.reasoning_tokens <= 6 * (budget + 1) for r in requests)


def test_a_budget_holds_whatever_plan_a_controller_makes(engine):
    class Careless(SingleSample):
        def plan(self, prompt):
            return Plan(paths=4, token_cap=100)

    controller = Careless(100)
    controller.most_paths = 4
    running = engine(controller)
    request = running.submit("1+2=", SamplingParams(seed=1), RequestBudget(thinking_tokens=3))
    running.run()
    assert max(map(thought, request.result.paths)) == 3


def test_a_budget_that_could_not_be_kept_is_refused(stepped):
    with pytest.raises(RequestError, match=r"^control\.thinking_tokens: can't be kept"):
        stepped(SingleSample(20)).submit("1+2=", budget=RequestBudget(thinking_tokens=3))


def test_a_closed_path_answers_and_votes(engine):
    running = engine(Thinks(1, 100))
    request = running.submit("1+2=", SamplingParams(seed=3), RequestBudget(thinking_tokens=2))
    running.run()
    (path,) = request.result.paths
    assert (path.fate, path.reason, path.closed) == ("kept", "eos", "length")
    assert path.text.startswith(path.text[:2] + CLOSING)
    assert request.result.answer == path.answer
    assert request.result.usage.paths_closed == 1
    assert request.kinds.index("path_closed") < request.kinds.index("path_finished")


def test_a_part_of_the_token_cap_is_kept_for_the_answer(engine):
    running = engine(Thinks(8, 20, share=0.25))
    requests = [running.submit("1+2=", SamplingParams(seed=seed)) for seed in range(10)]
    running.run()
    paths = [path for request in requests for path in request.result.paths]
    # 17 are left behind the 3 that close, of which 5 are kept
    assert {thought(p) for p in paths if p.closed} == {12}
    assert all(p.tokens <= 20 for p in paths)


def test_a_cap_too_small_to_close_within_cuts_off(engine):
    running = engine(Thinks(1, 4))
    request = running.submit("1+2=", SamplingParams(seed=1))
    running.run()
    (path,) = request.result.paths
    assert (path.reason, path.closed) == ("length", "")


def test_a_controller_closes_one_path_and_the_others_think_on(engine):
    running = engine(Thinks(3, 60, [[Close(1, "enough")]], share=0))
    request = running.submit("1+2=", SamplingParams(seed=2))
    running.run()
    assert [p.closed for p in request.result.paths] == ["", "enough", ""]
    assert CLOSING in request.result.paths[1].text


def test_the_others_draw_what_they_draw_without_a_path_that_is_closed(engine):
    texts = []
    for decisions in ([], [[Close(1)]]):
        running = engine(Thinks(3, 60, decisions, share=0))
        request = running.submit("1+2=", SamplingParams(seed=2))
        running.run()
        texts.append([p.text for p in request.result.paths])
    assert texts[0][0] == texts[1][0]
    assert texts[0][2] == texts[1][2]
    assert texts[0][1] != texts[1][1]


def test_text_is_written_into_a_path_which_goes_on_from_there(engine):
    running = engine(Thinks(2, 60, [[Inject(0, "wait:")]], share=0))
    request = running.submit("1+2=", SamplingParams(seed=2))
    running.run()
    assert [p.text.count("wait:") for p in request.result.paths] == [1, 0]
    assert request.result.paths[0].text.index("wait:") < request.result.paths[0].text.index("</think>")


def test_text_that_leaves_no_room_is_not_written_and_said(engine, caplog):
    running = engine(Thinks(1, 30, [[Inject(0, "w" * 40)]]))
    request = running.submit("1+2=", SamplingParams(seed=2))
    running.run()
    assert "w" not in request.result.paths[0].text
    assert "text of 40 tokens is not written into path 0" in caplog.text


def test_what_is_written_is_as_if_the_model_had_said_it(engine, tokenizer):
    """The tokens after it are those of the same prompt with the text so far, with the same random numbers."""
    running = engine(Thinks(1, 60, [[Inject(0, "7")]], share=0))
    sampling = SamplingParams(temperature=0)
    request = running.submit("1+2=", sampling)
    running.run()
    text = request.result.paths[0].text
    begin = text[: text.index("7") + 1]
    plain = engine(Thinks(1, 60, share=0))
    again = plain.submit("1+2=" + begin, sampling)
    plain.run()
    assert (begin + again.result.paths[0].text).startswith(text)


def test_at_a_deadline_without_an_answer_the_best_path_is_made_to_give_one(engine):
    running = engine(Thinks(4, 200, share=0.25))
    request = running.submit("1+2=", SamplingParams(seed=1), RequestBudget(deadline=60))
    running.step()
    running.core.outputs.clock = lambda: time.monotonic() + 60
    running.run()
    fates = sorted((p.fate, p.reason, p.closed) for p in request.result.paths)
    assert fates == [("kept", "eos", "deadline"), *[("stopped", "deadline", "")] * 3]
    assert request.result.answer
    assert request.result.usage.limited_by == "deadline"


def test_a_controller_that_stops_before_there_is_an_answer_gets_one(engine):
    running = engine(Thinks(3, 200, [[Stop("enough")]], share=0.25))
    request = running.submit("1+2=", SamplingParams(seed=5))
    running.run()
    assert [p.fate for p in request.result.paths].count("kept") == 1
    assert request.result.answer
    assert [e.reason for e in request.events if e.type == "vote"] == ["enough"]


def test_a_cancelled_request_ends_although_a_path_is_being_closed(engine):
    running = engine(Thinks(2, 200))
    request = running.submit("1+2=", SamplingParams(seed=5), RequestBudget(thinking_tokens=1))
    for _ in range(4):
        running.step()
    assert "path_closed" in request.kinds
    request.handle.cancel()
    running.run()
    assert request.result.finish_reason == "cancelled"
    assert running.core.scheduler.blocks.used == 0


@pytest.mark.parametrize(
    ("closing", "cap", "budget", "expected"),
    [
        (None, 100, None, None),  # thinking can't be closed
        (4, 100, None, 72),
        (4, 100, 50, 50),
        (4, 100, 90, 72),  # the answer's share is not the budget's to take
        (4, 5, None, None),
        (1, 4, None, 2),
    ],
)
def test_how_long_a_path_may_think(closing, cap, budget, expected):
    rule = BudgetRule(1, cap, 1, answer_share=0.25)
    prompt = PromptView(
        5, None, 1000, SamplingParams(), RequestBudget(thinking_tokens=budget), closing=closing
    )
    assert allocate(prompt, rule).thinking_cap == expected


def test_a_budget_of_no_thinking_is_fast_mode():
    prompt = PromptView(5, None, 1000, SamplingParams(), RequestBudget(thinking_tokens=0), closing=3)
    plan = allocate(prompt, BudgetRule(16, 100, 16))
    assert (plan.mode, plan.paths, plan.limited_by) == ("fast", 1, "thinking_tokens")


# trial answers


class Probing(Thinks):
    """Asks for trials, and keeps what it sees of them."""

    def __init__(self, paths: int, cap: int, **kind) -> None:
        super().__init__(paths, cap, share=0, **kind)
        self.seen: dict[int, tuple] = {}

    def decide(self, request: RequestView) -> list[Decision]:
        self.seen |= {path.index: path.trials for path in request.paths}
        return [Probe(path.index) for path in request.running if path.at_boundary]


def test_a_trial_is_what_the_path_would_have_answered_then(engine):
    controller = Probing(8, 60)
    running = engine(controller)
    request = running.submit("1+2=", SamplingParams(seed=9))
    running.run()
    tried = [(path.text, trial) for path in request.result.paths for trial in controller.seen[path.index]]
    assert tried
    for text, trial in tried:
        begin = text[: trial.tokens]  # a token is a character while it thinks
        plain = engine(Thinks(1, 60, share=0))
        again = plain.submit("1+2=" + begin + CLOSING, SamplingParams(temperature=0, max_tokens=20))
        plain.run()
        assert trial.answer == again.result.paths[0].text.strip().split("\n")[0]


def test_trials_leave_the_paths_as_they_would_be_without_and_are_accounted_for(engine):
    results = []
    for controller in (Thinks(4, 60, share=0), Probing(4, 60)):
        running = engine(controller)
        request = running.submit("1+2=", SamplingParams(seed=6))
        running.run()
        assert running.core.scheduler.blocks.used == 0
        results.append(request.result)
    plain, probed = results
    assert [p.text for p in probed.paths] == [p.text for p in plain.paths]
    assert probed.usage.probe_tokens > 0
    assert probed.usage.completion_tokens == plain.usage.completion_tokens + probed.usage.probe_tokens
    assert probed.usage.reasoning_tokens == plain.usage.reasoning_tokens


def test_a_path_may_end_in_the_step_in_which_its_trial_draws(engine):
    running = engine(Probing(8, 60))
    requests = [running.submit("1+2=", SamplingParams(seed=seed)) for seed in range(30)]
    running.run()
    assert all(request.kinds[-1] == "done" for request in requests)
    assert running.core.scheduler.blocks.used == 0


def test_a_trial_that_no_row_is_left_for_is_not_made(engine):
    controller = Probing(4, 60)
    running = engine(controller, max_rows=4)
    request = running.submit("1+2=", SamplingParams(seed=6))
    while not request.events or request.events[-1].type != "done":
        running.step()
        assert len([row for g in running.core.groups for row in g.running_rows]) <= 4


def test_a_request_may_be_cancelled_while_a_trial_runs(engine):
    running = engine(Probing(2, 200))
    request = running.submit("1+2=", SamplingParams(seed=3))
    for _ in range(200):
        running.step()
        if running.core.groups and running.core.groups[0].trying:
            break
    request.handle.cancel()
    running.run()
    assert request.result.finish_reason == "cancelled"
    assert running.core.scheduler.blocks.used == 0


def test_a_request_may_fail_while_a_trial_runs(engine):
    class Breaking(Probing):
        def decide(self, request):
            if any(path.tokens > 12 for path in request.paths):
                raise RuntimeError("enough")
            return super().decide(request)

    running = engine(Breaking(8, 200))
    requests = [running.submit("1+2=", SamplingParams(seed=seed)) for seed in range(6)]
    running.run()
    assert any(request.kinds[-1] == "failed" for request in requests)
    assert running.core.scheduler.blocks.used == 0


def test_paths_whose_trials_agree_are_closed(engine):
    running = engine(EarlyExit(Thinks(4, 200, share=0.25), patience=2))
    requests = [running.submit("1+2=", SamplingParams(seed=seed)) for seed in range(8)]
    running.run()
    paths = [path for request in requests for path in request.result.paths]
    closed = [path for path in paths if path.closed == "consensus"]
    assert closed
    assert all(path.answer is not None for path in closed)


def test_a_path_whose_trials_never_agree_is_given_up(engine):
    running = engine(EarlyExit(Thinks(4, 200, share=0.25), patience=9, give_up=1))
    requests = [running.submit("1+2=", SamplingParams(seed=seed)) for seed in range(8)]
    running.run()
    assert {p.closed for r in requests for p in r.result.paths} == {"", "gave_up"}
