"""Whatever happens to requests, blocks are accounted for at every step, and all are free in the end."""

from types import SimpleNamespace

from controllable_inference.core.allocation import BudgetRule, allocate
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import Plan, PromptView, Prune, RequestView, Spawn, Stop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RULE = BudgetRule(5, 30, 8)


class Erratic(GatedController):
    """Prunes, spawns and stops by a hash of what it sees: any order of decisions, yet always the same."""

    def __init__(self) -> None:
        super().__init__(RULE, confidence_rank, weight=None)

    def plan(self, prompt: PromptView) -> Plan:
        plan = allocate(prompt, RULE)
        return Plan(plan.paths, plan.token_cap, plan.mode, max_paths=6)

    def decide(self, request: RequestView):
        roll = sum(p.tokens * (p.index + 3) for p in request.paths) % 11
        if roll < 3 and request.running:
            return [Prune(request.running[roll % len(request.running)].index, "whim")] * 2
        if roll == 5 and len(request.paths) < 20:
            return [Spawn(2)]
        return [Stop("whim")] if roll == 7 else []


actions = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 60), st.integers(0, 99)),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("step"), st.integers(1, 12), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions, st.sampled_from([9, 14, 30, 200]), st.booleans())
def test_nothing_leaks(stepped, actions, blocks, erratic):
    controller = Erratic() if erratic else GatedController(RULE, confidence_rank, weight=None, min_steps=1)
    engine = stepped(controller, kv_blocks=blocks, max_rows=12, max_step_tokens=24, max_concurrent_requests=5)
    requests = []
    for what, number, seed in actions:
        if what == "submit":
            budget = RequestBudget(effort="none") if seed % 5 == 0 else None
            requests.append(engine.submit("1+2 " * (number // 4) + "=", SamplingParams(seed=seed), budget))
        elif what == "cancel" and requests:
            requests[number % len(requests)].handle.cancel()
        else:
            for _ in range(number):
                engine.step()  # checks the books each time
    engine.run()
    blocks_left = engine.core.scheduler.blocks
    assert blocks_left.free == blocks_left.blocks
    assert len(engine.core.outputs.control._free) == len(engine.core.outputs.control.newest)
    for request in requests:
        assert sum(kind in ("done", "failed") for kind in request.kinds) == 1
        assert request.kinds[-1] == "done"
        usage = request.result.usage
        assert usage.paths_pruned + usage.paths_stopped + usage.paths_finished <= usage.paths_started
        assert usage.completion_tokens == sum(p.tokens for p in request.result.paths)


def test_a_probe_is_in_no_figure_of_requests_paths_and_budgets(stepped):
    seen = []
    engine = stepped(GatedController(RULE, confidence_rank, min_steps=1))
    engine.engine.metrics.observer = SimpleNamespace(on_metric=lambda name, *_: seen.append(name))
    probe = engine.submit("1+2=", SamplingParams(seed=1), counted=False)
    engine.run()
    assert probe.result.usage.completion_tokens > 0
    assert set(seen) == {
        "controllable_requests_running",
        "controllable_requests_waiting",
        "controllable_kv_blocks",
        "controllable_engine_step_seconds",
        "controllable_tokens_total",
    }
    assert engine.engine.stats().totals == {("controllable_tokens_total", "path"): 0}
    engine.submit("1+2=", SamplingParams(seed=1))
    engine.run()
    assert engine.engine.stats().totals["controllable_requests_total", "completed"] == 1
    assert {"controllable_paths_total", "controllable_budget_tokens_total"} <= set(seen)


def test_a_cancelled_request_frees_everything_within_one_step(stepped):
    engine = stepped(GatedController(RULE, confidence_rank))
    request = engine.submit("1+2=", SamplingParams(seed=1))
    for _ in range(5):
        engine.step()
    assert engine.core.scheduler.blocks.used
    request.handle.cancel()
    engine.step()
    assert engine.core.scheduler.blocks.used == 0
    assert request.result.finish_reason == "cancelled"
    assert {p.fate for p in request.result.paths} == {"cancelled"}


def test_when_memory_runs_out_the_lowest_scored_path_goes_first(stepped):
    controller = GatedController(BudgetRule(8, 60, 8), confidence_rank, threshold=0.0, min_steps=99)
    engine = stepped(controller, kv_blocks=14)
    request = engine.submit("1+2=", SamplingParams(seed=3))
    engine.run()
    pruned = [e for e in request.events if e.type == "path_pruned"]
    assert pruned
    assert {e.reason for e in pruned} == {"memory"}
    assert request.result.usage.paths_pruned < 8
