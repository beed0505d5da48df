import numpy as np
import pytest
from controllable_inference.bench import analysis, difficulty, gate_figures
from controllable_inference.bench.analysis import Method, Table
from controllable_inference.bench.live import Answered, Block, Served
from controllable_inference.bench.sweep import SHIPPED
from controllable_inference.bench.systems import WARM_UPS, plain_systems
from made_up import measured, seen


def half(share, count=200):
    """1 for the first `share` of the problems."""
    return [float(n < share * count) for n in range(count)]


def table(**systems):
    return Table(measured(seen([0.5] * 200), **systems), rounds=200)


VALIDATION = table(
    SC_at_16={"right": half(0.7), "tokens": 1000},
    a={"right": half(0.6), "tokens": 100},
    b={"right": half(0.7), "tokens": 400},
    c={"right": half(0.72), "tokens": 500},
    d={"right": half(0.65), "tokens": 600},
)
METHOD = Method("m", "parallel", ["d", "c", "b", "a"])


def test_of_a_method_the_cheapest_setting_without_a_loss_is_shown():
    assert analysis.chosen_setting(VALIDATION, METHOD) == "b"
    assert analysis.chosen_setting(VALIDATION, Method("m", "parallel", ["a", "d"])) == "d"


def test_settings_that_others_beat_on_validation_have_no_place_on_the_frontier():
    assert analysis.efficient_settings(VALIDATION, METHOD) == ["a", "b", "c"]


def test_cost_at_equal_accuracy_lies_between_settings_and_never_above_full_voting():
    cost = analysis.equal_costs(VALIDATION, ["a", "b"])["tokens"]
    assert cost.value == pytest.approx(100 + 300 * (0.697 - 0.6) / 0.1)
    assert analysis.equal_costs(VALIDATION, ["a"])["tokens"].value < 1000


def test_flops_and_chain_at_equal_accuracy_are_those_of_the_mix_that_spares_tokens():
    """Full voting has the shortest chain by far; a method that goes one by one must not be given it."""
    found = table(
        SC_at_16={"right": half(0.7), "tokens": 1000, "chain": 100, "flops": 50, "control_flops": 0},
        a={"right": half(0.6), "tokens": 200, "chain": 200, "flops": 10, "control_flops": 1},
        b={"right": half(0.7), "tokens": 400, "chain": 400, "flops": 20, "control_flops": 1},
    )
    share = (0.697 - 0.6) / 0.1
    one_by_one = analysis.equal_costs(found, ["a", "b"])
    assert one_by_one["tokens"].value == pytest.approx(200 + 200 * share)
    assert one_by_one["chain"].value == pytest.approx(200 + 200 * share)
    assert one_by_one["flops"].value == pytest.approx(11 + 10 * share)
    fallen_back = analysis.equal_costs(found, ["a"])
    assert fallen_back["tokens"].value == pytest.approx(200 + 800 * share)
    assert fallen_back["chain"].value == pytest.approx(200 - 100 * share)
    assert fallen_back["chain"].draws.shape == fallen_back["tokens"].draws.shape


def test_the_settings_of_a_rival_are_chosen_on_validation_whatever_distinguishes_them():
    rival = Method("DeepConf online", "sequential", ["a", "b"])
    assert analysis.chosen_settings(VALIDATION, [rival]) == {"DeepConf online": "b"}
    methods = analysis.methods_of(plain_systems(512))
    assert set(analysis.RIVALS) <= {method.name for method in methods}
    online = next(method for method in methods if method.name == "DeepConf online")
    assert {name.split(", ")[1] for name in online.settings} == {f"warm-up {n}" for n in WARM_UPS}


def test_errors_are_saved_against_one_sample_and_against_as_many_tokens():
    found = table(
        shipped={"right": half(0.8), "tokens": 300},
        SC_at_1={"right": half(0.5), "tokens": 100},
        SC_at_4={"right": half(0.7), "tokens": 500},
    )
    single, voting = analysis.errors_saved(found, ["SC@1", "SC@4"])
    assert single.mean == pytest.approx(1 - 0.2 / 0.5)
    assert voting.mean == pytest.approx(1 - 0.2 / 0.4)  # SC at 300 tokens is right for 60 %
    assert single.low < single.mean < single.high


def test_recall_is_pooled_over_paths_and_solved_problems_are_counted_by_problem():
    found = table(
        SC_at_16={"right": half(0.5)},
        gate={"right": half(0.49), "all_right": 4, "kept_right": 3, "started": 16, "pruned": 8},
    )
    assert found.recall("gate").value == 0.75
    assert found.stays_solved("gate").value == pytest.approx(0.98)
    assert found.share("gate", "pruned").value == 0.5
    shown = analysis.pruning(found, "gate")
    assert shown.of_bound.mean == pytest.approx(0.5 / (1 - 0.98 * 0.5))


def test_the_setting_that_prunes_most_is_chosen_among_those_that_keep_enough():
    found = table(
        SC_at_16={"right": 1},
        mild={"pruned": 4, "started": 16, "all_right": 100, "kept_right": 99},
        bold={"pruned": 8, "started": 16, "all_right": 100, "kept_right": 98},
        wild={"pruned": 12, "started": 16, "all_right": 100, "kept_right": 90},
    )
    assert analysis.chosen_pruning(found, ["mild", "bold", "wild"], "recall") == "bold"
    assert analysis.chosen_pruning(found, ["wild"], "recall") is None


def test_difficulty_is_what_other_seeds_say():
    lucky, unlucky = seen([1.0, 0.75, 0.0]), seen([0.0, 0.75, 0.25])
    seeds = [measured(problems, one={}) for problems in (lucky, unlucky)]
    assert difficulty.difficulty_thirds(seeds).tolist() == [[2, 0, 1], [0, 1, 2]]


def test_of_equally_difficult_problems_the_own_seed_does_not_break_the_tie():
    """Both kinds are alike by the other seed; the own one, in which the first fails, has no say."""
    other = [*seen([0.5]), *seen([0.5], family="products"), *seen([0.0], family="gcd", level=1)]
    own = [*seen([0.0]), *seen([1.0], family="products"), *seen([0.0], family="gcd", level=1)]
    seeds = [measured(problems, one={}) for problems in (own, other)]
    assert difficulty.difficulty_thirds(seeds)[0].tolist() == [0, 1, 2]


def test_thirds_add_up_every_seed_and_compare_with_full_voting():
    systems = {
        "SC_at_16": {"flops": 100, "control_flops": 0, "tokens": 100, "right": 1},
        SHIPPED: {
            "flops": [20, 60, 130],
            "control_flops": 5,
            "tokens": [20, 60, 130],
            "right": [1, 1, 0],
            "started": [1, 4, 16],
        },
    }
    seeds = [measured(seen([1.0, 0.5, 0.0]), **systems) for _ in range(2)]
    (easy, middle, hard), every = difficulty.thirds(seeds, rounds=50)
    assert [t.flops.mean for t in (easy, middle, hard)] == pytest.approx([-0.75, -0.35, 0.35])
    assert every.flops.mean == pytest.approx(-0.25)
    assert (easy.pass_rate, hard.pass_rate) == (1.0, 0.0)
    assert hard.difference.mean == -1
    assert easy.tokens.mean == pytest.approx(20)
    assert [t.paths.mean for t in (easy, middle, hard, every)] == pytest.approx([1, 4, 16, 7])


def test_paths_are_counted_by_what_other_seeds_found_hard():
    """Paths that disagree make the control start more: by its own failures any problem would look hard."""
    systems = [{"SC_at_16": {}, SHIPPED: {"started": started}} for started in ([2, 4, 16], [16, 4, 2])]
    rates = [1.0, 0.5, 0.0], [0.0, 0.5, 1.0]
    seeds = [measured(seen(its), **system) for its, system in zip(rates, systems, strict=True)]
    (easy, _, hard), _ = difficulty.thirds(seeds, rounds=20)
    assert (easy.paths.mean, hard.paths.mean) == (16, 2)


def test_a_table_of_budgets_gives_hard_cells_the_predictors_large_coefficients():
    problems = [*seen([0.9, 1.0]), *seen([0.1, 0.2], family="products", level=2)]
    found = analysis.lookup_table(measured(problems, shipped={"coefficient": [0.2, 0.2, 1.8, 1.8]}))
    assert found == pytest.approx({("gcd", 0): 0.2, ("products", 2): 1.8})


def test_a_budget_that_follows_failures_beats_one_that_knows_only_the_family():
    problems = [*seen([1.0, 0.75, 0.25]), *seen([0.0], level=1)]
    its = measured(problems, shipped={"coefficient": [0.1, 0.4, 1.0, 2.0]})
    found = analysis.budget_figures(its, its)
    assert found.predictor == pytest.approx(1.0)
    assert found.predictor_auc == 1.0
    assert found.lookup < found.predictor
    assert found.lookup_auc == pytest.approx(0.75)  # of four pairs two are ties


def served(system, answers, seconds=1.0):
    answered = [Answered(n, 1, right, tokens, 0.1 * (n + 1)) for n, (right, tokens) in enumerate(answers)]
    return Served(system, answered, [Block(1, len(answers), seconds, control=0.1, engine=2.0)])


def test_served_and_replayed_figures_are_those_of_the_same_problems():
    answers = [(True, 10), (True, 20), (True, 30), (True, 40)]
    full = served("SC@16", answers)
    full_name, twice = "SC@16", "twice as fast"
    as_served = {"right": 1, "tokens": [10, 20, 30, 40, 0, 0]}
    replayed = {1: measured(seen([0.5] * 6), **{full_name: as_served, twice: as_served})}
    timings = {full_name: "parallel", twice: "sequential"}
    row, other = analysis.live_rows([full, served(twice, answers, seconds=0.5)], timings, replayed, rounds=50)
    assert (row.timing, other.timing) == ("parallel", "sequential")
    assert (row.speedup, row.speedups) == (1.0, [1.0])
    assert (other.speedup, other.speedups) == (2.0, [2.0])
    assert row.agrees
    assert row.replayed_tokens.mean == 25
    assert row.problems_per_second == 4
    assert row.control_share == pytest.approx(0.05)
    assert row.p50.mean == pytest.approx(0.2)
    assert other.problems_per_second == 8


def test_a_server_that_does_something_else_than_the_replay_is_noticed():
    replayed = {1: measured(seen([0.5] * 4), SC_at_16={"right": 1, "tokens": 25})}
    other = served("SC@16", [(True, 400), (True, 400), (True, 400), (True, 400)])
    (row,) = analysis.live_rows([other], {"SC@16": "parallel"}, replayed, rounds=50)
    assert not row.agrees


def test_auc_is_taken_at_a_share_of_each_paths_steps():
    found = Table(measured(seen([0.5] * 10), one={}), rounds=20)
    early, late = (gate_figures._discrimination(found, share) for share in (0.25, 1.0))
    assert early.within.mean == 0.5  # all say 0.5 at first
    assert late.within.mean == late.pooled.mean == 1.0


def test_problems_are_summed_up_by_family_and_by_level():
    problems = [*seen([1.0, 0.0]), *seen([0.5], family="products", level=2)]
    systems = {"SC_at_16": {"right": [1, 0, 1], "tokens": 100}, SHIPPED: {"right": 1, "tokens": 50}}
    found = {kind.name: kind for kind in analysis.kinds(measured(problems, **systems))}
    assert list(found) == ["gcd", "products", "level 0", "level 2"]
    assert found["gcd"].full == (0.5, 100)
    assert found["level 2"].shipped == (1.0, 50)
    assert np.isclose(found["gcd"].pass_rate, 0.5)
