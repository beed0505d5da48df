"""Same seed, same request, same configuration: same paths, whatever else is in the batch."""

from dataclasses import dataclass

import pytest
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.engines.native import shared_prefix
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_engines import Stepped, make_engine

GATED = GatedController(BudgetRule(6, 40, 6), confidence_rank, weight=None, min_steps=1)
PLAIN = MajorityVote(5, 40)
PROMPT = "what is 12+30? and then?"
SAMPLING = SamplingParams(seed=7, temperature=0.9)


@pytest.fixture(autouse=True, params=["prompts apart", "prompts shared"], scope="module")
def attention_to_prompts(request):
    """Both ways of attending to a prompt, whether it is worth it or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_prefix, "WORTH", 0 if request.param == "prompts shared" else 10**12)
        yield


@dataclass(frozen=True)
class Other:
    """Another client's request: arrives at a step, perhaps goes away at another."""

    prompt: str
    seed: int
    paths: int
    temperature: float
    top_p: float
    arrives: int
    cancelled: int | None


others = st.lists(
    st.builds(
        Other,
        st.text("abc123+ ", min_size=1, max_size=50),
        st.integers(0, 999),
        st.integers(1, 6),
        st.sampled_from([0.0, 0.8, 1.0]),
        st.sampled_from([0.9, 1.0]),
        st.integers(0, 15),
        st.one_of(st.none(), st.integers(1, 30)),
    ),
    max_size=5,
)
quick = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(request):
    return [(p.fate, p.reason, p.tokens, p.text, p.answer) for p in request.result.paths]


def run_among(engine, crowd: list[Other], arrives: int = 0):
    ours, theirs = None, {}
    for step in range(2000):
        if step == arrives:
            ours = engine.submit(PROMPT, SAMPLING)
        for at, other in enumerate(crowd):
            if other.arrives == step:
                sampling = SamplingParams(temperature=other.temperature, top_p=other.top_p, seed=other.seed)
                theirs[at] = engine.submit(other.prompt, sampling, RequestBudget(max_paths=other.paths))
            elif at in theirs and other.cancelled is not None and step == other.arrives + other.cancelled:
                theirs[at].handle.cancel()
        engine.step()
        if step > 20 and not engine.core.groups:
            break
    assert ours is not None
    return ours


@pytest.fixture(scope="module")
def alone(models_by_family, tokenizer):
    return {
        controller: outcome(
            run_among(Stepped(make_engine(models_by_family["llama"], tokenizer, controller)), [])
        )
        for controller in (GATED, PLAIN)
    }


@pytest.mark.parametrize("controller", [GATED, PLAIN], ids=["gated", "plain"])
@quick
@given(others, st.integers(0, 12), st.sampled_from([24, 2048]))
def test_a_crowd_changes_nothing(stepped, alone, controller, crowd, arrives, step_tokens):
    engine = stepped(controller, max_step_tokens=step_tokens, max_rows=24)
    assert outcome(run_among(engine, crowd, arrives)) == alone[controller]


@quick
@given(others, st.integers(0, 12), st.integers(26, 44))
def test_being_preempted_and_computed_again_changes_nothing(stepped, alone, crowd, arrives, blocks):
    engine = stepped(PLAIN, kv_blocks=blocks, max_rows=24)
    assert outcome(run_among(engine, crowd, arrives)) == alone[PLAIN]


def test_tight_memory_does_preempt(stepped, alone):
    engine = stepped(PLAIN, kv_blocks=26, max_rows=24)
    preempted = []
    preempt = engine.core.scheduler.preempt
    engine.core.scheduler.preempt = lambda group: (preempted.append(group), preempt(group))
    requests = [engine.submit(PROMPT, SAMPLING) for _ in range(3)]
    engine.run()
    assert preempted
    assert [outcome(r) for r in requests] == [alone[PLAIN]] * 3


def test_another_seed_gives_other_paths(stepped):
    engine = stepped(PLAIN)
    requests = [engine.submit(PROMPT, SamplingParams(seed=seed)) for seed in (1, 2)]
    engine.run()
    assert requests[0].texts != requests[1].texts
    assert len(set(requests[0].texts)) > 1
