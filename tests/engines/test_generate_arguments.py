"""What `generate` and `stream` take, and what they refuse."""

import math

import pytest
from controllable_inference import ControllableInference, RequestBudget, SamplingParams
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.errors import ModelNotFound, RequestError
from controllable_inference.model import request_budget
from tiny_engines import make_model, make_tokenizer, save_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_checkpoint(tmp_path_factory.mktemp("plain"), make_model(), make_tokenizer())
    with ControllableInference.from_pretrained(folder, limits=EngineLimits(kv_blocks=200)) as model:
        yield model


def test_a_budget_is_a_coefficient_an_effort_or_all_there_is_to_say():
    assert request_budget(None) == RequestBudget()
    assert request_budget(0.5) == RequestBudget(coefficient=0.5)
    assert request_budget(2) == RequestBudget(coefficient=2)
    assert request_budget("low") == RequestBudget(effort="low")
    whole = RequestBudget(max_tokens=9, trace="full")
    assert request_budget(whole) == whole
    assert request_budget(whole, max_paths=3, deadline=1.5) == RequestBudget(
        max_tokens=9, trace="full", max_paths=3, deadline=1.5
    )


@pytest.mark.parametrize("budget", [3, -0.1, math.nan, math.inf, True, "much", [1], {"coefficient": 1}])
def test_a_budget_that_is_none_of_these_is_refused(budget):
    with pytest.raises(RequestError, match=r"budget: must be a coefficient in \[0, 2\], one of none, ") as no:
        request_budget(budget)
    assert no.value.field == "budget"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("paths", 0),
        ("thinking_tokens", -1),
        ("thinking_tokens", 1.5),
        ("max_paths", 0),
        ("max_paths", 1.5),
        ("max_paths", True),
        ("deadline", 0),
        ("deadline", -1),
        ("deadline", math.nan),
        ("deadline", "soon"),
        ("deadline", 10**400),
    ],
)
def test_a_limit_that_does_not_fit_is_refused_by_the_arguments_name(model, argument, value):
    for ask in (model.generate, model.stream):
        with pytest.raises(RequestError, match=f"^{argument}: must be ") as no:
            list(ask("1+2=", **{argument: value}))
        assert no.value.field == argument


def test_what_is_said_twice_must_be_the_same(model):
    whole = RequestBudget(max_paths=4, deadline=9)
    assert request_budget(whole, max_paths=4, deadline=9.0) == whole
    with pytest.raises(RequestError, match="max_paths: is 2 as an argument and 4 in the object given"):
        request_budget(whole, max_paths=2)
    with pytest.raises(RequestError, match="deadline: is 1 as an argument"):
        request_budget(whole, deadline=1)
    with pytest.raises(RequestError, match="seed: is 2 as an argument and 1 in"):
        model.generate("1+2=", SamplingParams(seed=1), seed=2)


def test_paths_and_seed_bind(model):
    first, again = (model.generate("1+2=", SamplingParams(max_tokens=30), 1.0, paths=3, seed=5) for _ in "ab")
    assert first.paths == again.paths
    assert len(first.paths) == 3


def test_a_deadline_reaches_the_engine(model, monkeypatch):
    asked = []
    submit = model.engine.submit

    def watch(prompt, sampling, budget, *rest, **options):
        asked.append(budget)
        return submit(prompt, sampling, budget, *rest, **options)

    monkeypatch.setattr(model.engine, "submit", watch)
    model.generate("1+2=", SamplingParams(max_tokens=2), "minimal", deadline=60)
    assert [(b.effort, b.deadline) for b in asked] == [("minimal", 60)]


def test_a_name_of_the_article_stands_for_the_model_that_exists(monkeypatch, caplog):
    def find(path_or_repo, revision, token):
        raise ModelNotFound(f"asked for {path_or_repo}")

    monkeypatch.setattr("controllable_inference.model.checkpoint.find", find)
    with pytest.raises(ModelNotFound, match="deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"):
        ControllableInference.from_pretrained("deepseek/r1-13b")
    assert "never published under this name; loading deepseek-ai/" in caplog.text
