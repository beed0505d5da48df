"""Whatever goes wrong with one request, it is told what, and the others go on as if it had never been."""

import re
from dataclasses import replace

import pytest
import torch
from controllable_inference.core import equality
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.core.equality import AnswerClasses
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import Answer, Plan, Prune, Spawn, Stop
from controllable_inference.engines import output_processor
from controllable_inference.errors import ControllerError, RequestError
from tiny_engines import Stepped, make_engine

SANE = MajorityVote(4, 60)
SAMPLING = SamplingParams(seed=1)


class Saying(MajorityVote):
    """A plain vote that says something else where it is told to."""

    needs_features = True

    def __init__(self, **said) -> None:
        super().__init__(4, 60)
        for method, word in said.items():
            setattr(self, method, lambda view, word=word: word)

    def score(self, features):
        return torch.full((len(features),), 0.5)


@pytest.fixture(scope="module")
def alone(models_by_family, tokenizer) -> list[str]:
    """What a sane request says when it has the engine to itself."""
    engine = Stepped(make_engine(models_by_family["llama"], tokenizer, SANE))
    request = engine.submit("1+2=", SAMPLING)
    engine.run()
    return request.texts


@pytest.mark.parametrize(
    ("method", "word", "why"),
    [
        ("plan", None, "None: is no Plan"),
        ("plan", Plan(paths=0, token_cap=9), "paths is no whole number of at least 1"),
        ("plan", Plan(paths=2.5, token_cap=9), "paths is no whole number"),
        ("plan", Plan(paths=2, token_cap=-1), "token_cap is no whole number"),
        ("plan", Plan(paths=2, token_cap=9, max_paths=0), "max_paths is no whole number"),
        ("plan", Plan(paths=2, token_cap=9, mode="slowly"), "mode is neither slow nor fast"),
        ("plan", Plan(paths=2, token_cap=9, coefficient=float("nan")), "coefficient is no finite number"),
        ("decide", None, "None: is no list of decisions"),
        ("decide", "stop", "is no list of decisions"),
        ("decide", ["stop"], "stop: is no decision that there is"),
        ("decide", [Prune(-1)], "the request has paths 0 to 3"),
        ("decide", [Prune(99)], "the request has paths 0 to 3"),
        ("decide", [Prune("0")], "the request has paths 0 to 3"),
        ("decide", [Prune(0, None)], "reason is no text"),
        ("decide", [Spawn(0)], "paths is no whole number"),
        ("decide", [Spawn(None)], "paths is no whole number"),
        ("decide", [Spawn(1)], "its plan has no max_paths"),
        ("decide", [Stop("cancelled")], "only a client cancels"),
        ("score", None, "None: is not one number for each"),
        ("score", torch.zeros(99), "is not one number for each"),
        ("answer", None, "None: is no Answer"),
        ("answer", Answer(99, 0.5, {}), "winner is none of paths 0 to 3"),
        ("answer", Answer(-1, 0.5, {}), "winner is none of paths 0 to 3"),
        ("answer", Answer(0, float("nan"), {}), "confidence or weights are no finite numbers"),
        ("answer", Answer(0, 0.5, {"4": float("inf")}), "confidence or weights are no finite numbers"),
        ("answer", Answer(0, 1.5, {}), r"confidence does not lie in \[0, 1\]"),
    ],
)
def test_nonsense_from_a_controller_fails_its_request_and_names_it(stepped, alone, method, word, why):
    engine = stepped(SANE)
    fine = engine.submit("1+2=", SAMPLING)
    told = engine.submit("1+2=", SAMPLING, controller=Saying(**{method: word}))
    engine.run()
    failed = told.events[-1]
    assert failed.type == "failed"
    assert failed.error == "ControllerError"
    assert failed.message.startswith(f"Saying.{method} gave ")
    assert re.search(why, failed.message)
    assert fine.texts == alone


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("most_paths", 0, "gave 0: is no whole number of at least 1"),
        ("most_paths", None, "gave None: is no whole number of at least 1"),
        ("needs_features", "no", "gave no: is neither True nor False"),
    ],
)
def test_a_controller_whose_attributes_mean_nothing_is_refused_at_once(stepped, name, value, why):
    controller = Saying()
    setattr(controller, name, value)
    with pytest.raises(ControllerError, match=rf"^Saying\.{name} {why}$"):
        stepped(SANE).submit("1+2=", SAMPLING, controller=controller)


class Elusive(MajorityVote):
    """Without the attribute of this name, at first or in the end."""

    gone = ""

    def __getattribute__(self, name):
        if name == super().__getattribute__("gone"):
            raise AttributeError(f"no {name}")
        return super().__getattribute__(name)


ATTRIBUTES = ["most_paths", "needs_prompt_hidden", "needs_features", "needs_siblings"]


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_controller_without_an_attribute_is_refused_at_once(stepped, name):
    controller = Elusive(4, 60)
    controller.gone = name
    with pytest.raises(ControllerError, match=f"^Elusive raised AttributeError: no {name}$"):
        stepped(SANE).submit("1+2=", SAMPLING, controller=controller)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_that_is_lost_on_the_way_ends_nothing(stepped, alone, name):
    engine = stepped(SANE)
    request = engine.submit("1+2=", SAMPLING, controller=(controller := Elusive(4, 60)))
    controller.gone = name
    engine.run()
    assert request.texts == alone


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("method", ["plan", "score", "decide", "answer"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no idea"), "ValueError: no idea"),
        (KeyError("x"), "KeyError: 'x'"),
        (AssertionError(), "AssertionError"),
        (RequestError("f", "is wrong"), r".*RequestError: f: is wrong"),
        (Unspeakable(), r".*Unspeakable: <exception str\(\) failed>"),
    ],
)
def test_a_controller_that_raises_fails_its_request_and_is_named(stepped, alone, method, error, said):
    def fail(view):
        raise error

    engine = stepped(SANE)
    fine = engine.submit("1+2=", SAMPLING)
    controller = Saying()
    setattr(controller, method, fail)
    told = engine.submit("1+2=", SAMPLING, controller=controller)
    engine.run()
    failed = told.events[-1]
    assert failed.error == "ControllerError"
    assert re.fullmatch(f"Saying raised {said}", failed.message)
    assert fine.texts == alone


def test_a_plan_that_can_only_be_made_its_own_way_fails_its_request_alone(stepped, alone):
    class Whole(Plan):
        def __init__(self):
            super().__init__(2, 20)

    engine = stepped(SANE)
    fine = engine.submit("1+2=", SAMPLING)
    told = engine.submit("1+2=", SAMPLING, controller=Saying(plan=Whole()))
    engine.run()
    assert told.events[-1].message.startswith("Saying raised TypeError")
    assert fine.texts == alone


def test_the_tokens_and_paths_of_a_failed_request_are_counted(stepped):
    class Late(MajorityVote):
        def decide(self, request):
            raise ValueError

    engine = stepped(Late(4, 60))
    request = engine.submit("1+2=", SAMPLING)
    engine.run()
    assert request.kinds[-1] == "failed"
    totals = engine.engine.stats().totals
    used = totals["controllable_budget_tokens_total", "used"]
    assert used == totals["controllable_tokens_total", "path"] > 0
    assert sum(n for (name, _), n in totals.items() if name == "controllable_paths_total") == 4


def test_pruning_a_path_that_has_ended_by_now_changes_nothing(stepped, alone):
    class Late(MajorityVote):
        def decide(self, request):
            return [Prune(p.index) for p in request.finished]

    engine = stepped(Late(4, 60))
    request = engine.submit("1+2=", SAMPLING)
    engine.run()
    assert request.texts == alone
    assert request.result.usage.paths_pruned == 0


def test_a_controller_that_starts_paths_without_end_is_stopped(stepped, monkeypatch):
    class Endless(MajorityVote):
        def plan(self, prompt):
            return replace(super().plan(prompt), max_paths=4)

        def decide(self, request):
            return [Spawn(1)]

    monkeypatch.setattr(output_processor, "MOST_PATHS", 20)
    engine = stepped(Endless(4, 3))
    request = engine.submit("1+2=", SAMPLING)
    engine.run()
    failed = request.events[-1]
    assert failed.error == "ControllerError"
    assert failed.message.startswith("Endless has started 20 paths")


@pytest.mark.parametrize("wrong", ["score", "decide"])
def test_nothing_follows_the_word_that_a_request_has_failed(stepped, wrong):
    """Not even the end of a path that would have drawn its last token in the same step."""

    for cap in range(2, 40):  # the cap ends paths at every moment at which a step may end
        controller = Saying(plan=Plan(8, cap), **{wrong: None})
        controller.most_paths = 8
        engine = stepped(SANE)
        request = engine.submit("1+2=", SAMPLING, controller=controller)
        engine.run()
        assert [kind in ("failed", "done") for kind in request.kinds].index(True) == len(request.kinds) - 1


def test_scores_that_mean_nothing_fail_only_the_requests_whose_paths_they_are_of(stepped):
    def score(features):
        logprob = features[:, STATISTICS.index("path_logprob") - len(STATISTICS)]
        return torch.where(logprob < -2.6, float("nan"), 0.5)

    gated = GatedController(BudgetRule(3, 60, 3), score)
    engine = stepped(gated)
    requests = [engine.submit("1+2=", SamplingParams(seed=seed)) for seed in range(12)]
    engine.run()
    failed = [request for request in requests if request.kinds[-1] == "failed"]
    assert 0 < len(failed) < 12
    assert {request.events[-1].error for request in failed} == {"ControlConfigError"}
    assert all("the score nan, outside [0, 1]" in request.events[-1].message for request in failed)


class Poison:
    """From step `after` on, turns the embedded tokens of a request's paths into what is no number."""

    def __init__(self, engine, after: int, path: int | None = None) -> None:
        self.engine, self.after, self.path = engine, after, path
        self.group = None
        self.forward = engine.core.runner.forward
        self.mask = torch.zeros(0, dtype=torch.bool)
        engine.core.runner.forward = self.compute
        engine.core.runner.model.get_input_embeddings().register_forward_hook(self.embed)

    def compute(self, tokens, positions, paged, last):
        self.mask = torch.zeros(len(tokens), dtype=torch.bool)
        if self.group is not None and self.engine.core.steps >= self.after:
            paths = self.group.paths if self.path is None else [self.group.paths[self.path]]
            tables = [p.table for p in paths] if self.group.paths else [self.group.prompt_table]
            size = self.engine.engine.limits.block_size
            own = torch.tensor([block for table in tables for block in table], dtype=torch.long)
            self.mask = torch.isin(paged.slots // size, own)
        return self.forward(tokens, positions, paged, last)

    def embed(self, module, args, output):
        return output.masked_fill(self.mask[None, :, None], float("nan"))


@pytest.mark.parametrize("share", [0, 10**12], ids=["prompts shared", "prompts apart"])
@pytest.mark.parametrize(("after", "path"), [(0, None), (3, None), (9, 1)])
def test_logits_that_are_no_numbers_fail_their_request_and_nobody_else(
    stepped, monkeypatch, share, after, path
):
    monkeypatch.setattr("controllable_inference.engines.native.shared_prefix.WORTH", share)
    others = [
        ("1+2=", 1),
        ("what is 12+30? and then? and after that, and in the end, and ever?", 2),
        ("3", 3),
    ]

    def ask(engine):
        return [engine.submit(prompt, SamplingParams(seed=seed)) for prompt, seed in others]

    gated = GatedController(BudgetRule(4, 80, 4), confidence_rank, weight=None, min_steps=1)
    engine = stepped(gated, kv_blocks=40)
    alone = ask(engine)
    engine.run()

    engine = stepped(gated, kv_blocks=40)  # few enough for the failed one's blocks to be given to others
    poison = Poison(engine, after, path)
    doomed = engine.submit("9*9=", SamplingParams(seed=5), controller=MajorityVote(4, 60))
    poison.group = next(iter(engine.engine._in_flight.values()))
    together = ask(engine)
    engine.run()
    later = ask(engine)
    engine.run()
    assert doomed.kinds[-1] == "failed"
    assert doomed.events[-1].error == "ModelOutputError"
    assert [r.texts for r in together] == [r.texts for r in alone]
    assert [r.texts for r in later] == [r.texts for r in alone]
    assert engine.core.runner.cache.data.isfinite().all()


def test_a_failing_prompt_does_not_reach_into_shorter_rows_of_the_same_step(stepped):
    """Tables of unequal length are padded, with what may be in any block."""
    prompts = ["1" * 60, "2"]
    runs = []
    for with_failing in (False, True):
        engine = stepped(SANE)
        free = engine.core.scheduler.blocks._free
        free.rotate(-1)  # block 0 is for the last to come
        fine = [engine.submit(prompt, SAMPLING) for prompt in prompts]
        for _ in range(4):
            engine.step()
        if with_failing:
            free.rotate(1)
            poison = Poison(engine, after=0)
            doomed = engine.submit("9*9=")
            poison.group = list(engine.engine._in_flight.values())[-1]
            engine.step()
            assert doomed.events[-1].error == "ModelOutputError"
        engine.run()
        runs.append([request.texts for request in fine])
    assert runs[0] == runs[1]


class Curious(MajorityVote):
    """Keeps what it is shown of prompts, and of the time left."""

    needs_prompt_hidden = True

    def __init__(self) -> None:
        super().__init__(2, 20)
        self.prompts: list = []
        self.left: list[float | None] = []

    def plan(self, prompt):
        self.prompts.append(prompt)
        return super().plan(prompt)

    def answer(self, request):
        self.left.append(request.time_left)
        return super().answer(request)

    def decide(self, request):
        self.left.append(request.time_left)
        return super().decide(request)


def test_a_prompt_that_is_preempted_and_computed_again_is_shown_as_if_it_had_not_been(stepped):
    prompt = "what is 12+30? and then? and after that?"
    shown = []
    for preempted in (False, True):
        engine = stepped(curious := Curious(), max_step_tokens=8, max_rows=8)
        engine.submit(prompt, SAMPLING)
        for _ in range(3):
            engine.step()
        (group,) = engine.core.scheduler.running
        assert 0 < group.prompt_computed < len(group.prompt)
        if preempted:
            engine.core.scheduler.preempt(group)
        engine.run()
        shown.append(curious.prompts)
    ((whole,), (again,)) = shown
    assert whole.hidden.shape[0] == whole.tokens == len(prompt)
    assert again.hidden.shape == whole.hidden.shape
    assert torch.allclose(again.hidden, whole.hidden, atol=1e-5)


def test_a_controller_is_told_how_many_seconds_are_left(stepped):
    engine = stepped(Curious())
    engine.submit("1+2=", SAMPLING, controller=(unhurried := Curious()))
    engine.submit("1+2=", SAMPLING, RequestBudget(deadline=50.0), controller=(hurried := Curious()))
    engine.run()
    assert set(unhurried.left) == {None}
    assert 50 > hurried.left[0] >= hurried.left[-1] > 0
    assert len(set(hurried.left)) > 1


def test_an_answers_key_is_computed_once(stepped, monkeypatch):
    keyed: list[str] = []
    monkeypatch.setattr(AnswerClasses, "key", lambda self, answer: keyed.append(answer) or answer)
    engine = stepped(MajorityVote(8, 60))
    request = engine.submit("1+2=", SamplingParams(seed=1))
    engine.run()
    assert sorted(keyed) == sorted(p.answer for p in request.result.paths if p.answer is not None)
    assert keyed


@pytest.mark.parametrize("failing", ["extract", "key"])
def test_an_equality_that_raises_fails_no_request_and_is_counted(stepped, monkeypatch, failing):
    def fails(self, text):
        raise RuntimeError("no")

    monkeypatch.setitem(equality._KNOWN, failing, type("Failing", (equality.Exact,), {failing: fails}))
    engine = stepped(MajorityVote(8, 60))
    engine.engine.vocabulary = replace(engine.engine.vocabulary, equality=failing)
    request = engine.submit("1+2=", SamplingParams(seed=1))
    engine.run()
    name = "controllable_answers_not_compared_total"
    counted = [count for key, count in engine.engine.stats().totals.items() if key[0] == name]
    assert any(path.answer is not None for path in request.result.paths)
    assert sum(counted) > 0
