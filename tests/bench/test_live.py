import threading
from types import SimpleNamespace

import pytest
from controllable_inference.bench import live
from controllable_inference.bench.live import ControlClock, Served, rounds_of, serve
from controllable_inference.bench.systems import System
from controllable_inference.core.baselines import MajorityVote, SingleSample
from controllable_inference.core.events import Done
from controllable_inference.core.request import Result, Usage
from controllable_inference.engines.native import sampler
from controllable_inference.learn.problems import Problem

PROBLEMS = [Problem("gcd", 0, f"question {n}", str(n), {"result": n}) for n in range(5)]


class Core:
    """What the clock looks at, with calls that take a second each on a clock of their own."""

    def __init__(self, clock):
        self.clock = clock
        lifecycle = SimpleNamespace(end_path=self.takes(4), complete=self.takes(8))
        control = SimpleNamespace(
            computed=lambda: (self.takes(1)(), control.decide()),
            decide=lambda: (self.takes(2)(), lifecycle.complete()),
            drawn=self.takes(16),
        )
        self.outputs = SimpleNamespace(lifecycle=lifecycle, control=control, plan=self.takes(32))

    def takes(self, seconds):
        def call():
            self.clock[0] += seconds

        return call

    def step(self):
        self.takes(100)()
        self.outputs.control.computed()
        self.outputs.lifecycle.end_path()


class Echo:
    """An engine that answers `question N` with N, from another thread, one at a time."""

    def __init__(self, finish="stop"):
        self._core = Core([0.0])
        self.asked = []
        self.finish = finish
        self._gate = threading.Lock()

    def together(self):
        return self._gate

    def submit(self, messages, sampling, budget, on_event, *, controller, streaming):
        word = messages[-1]["content"].split()[-1]
        self.asked.append((controller, int(word), sampling.seed))
        usage = Usage(completion_tokens=10, seconds=0.5)
        result = Result(word, word, 1.0, finish_reason=self.finish, usage=usage)

        def answer():
            with self._gate:
                on_event(Done("stop", result))

        threading.Timer(0.001, answer).start()


def test_decisions_are_control_and_what_is_done_about_them_is_not(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live.time, "perf_counter", lambda: now[0])
    engine = SimpleNamespace(_core=Core(now))
    clock = ControlClock()
    with clock.on(engine):
        engine._core.step()
        engine._core.outputs.control.drawn()
        engine._core.outputs.plan()
    assert clock.engine == 100 + 1 + 2 + 8 + 4
    assert clock.control == 1 + 2 + 16 + 32


def test_the_engine_is_left_as_it_was():
    engine = SimpleNamespace(_core=Core([0.0]))
    outputs = engine._core.outputs
    before = (outputs.control.decide, outputs.plan, sampler.token_statistics)
    with ControlClock().on(engine):
        assert outputs.control.decide is not before[0]
    assert (outputs.control.decide, outputs.plan, sampler.token_statistics) == before
    assert "step" not in vars(engine._core)


def test_every_system_answers_every_round_and_another_one_begins():
    engine = Echo()
    systems = [System("one", SingleSample()), System("many", MajorityVote(4))]
    rounds = rounds_of(PROBLEMS, 4, [1, 2], lambda seed, number: 100 * seed + number)
    told = []
    found = serve(engine, systems, rounds, 2, progress=lambda name, n: told.append((name, n)))
    order = [systems[0].controller is controller for controller, *_ in engine.asked]
    assert order == [True, True, False, False, False, False, True, True]
    assert [(a.number, a.seed, a.right, a.tokens, a.seconds) for a in found[0].answered] == [
        (0, 1, True, 10, 0.5),
        (1, 1, True, 10, 0.5),
        (2, 2, True, 10, 0.5),
        (3, 2, True, 10, 0.5),
    ]
    assert [seed for _, number, seed in engine.asked if number == 3] == [203, 203]
    assert [block.problems for block in found[1].blocks] == [2, 2]
    assert max(n for name, n in told if name == "one") == 4


def test_what_no_path_came_to_the_end_of_is_no_answer_however_it_looks():
    """The engine then shows what the first path had come to; replay has no winner, and nothing right."""
    (found,) = serve(
        Echo(finish="length"), [System("one", SingleSample())], rounds_of(PROBLEMS, 2, [1], lambda s, n: n)
    )
    assert [answered.right for answered in found.answered] == [False, False]


def test_rounds_begin_anew_when_there_are_no_more_problems():
    rounds = rounds_of(PROBLEMS, 12, [1, 2, 3], lambda seed, number: number)
    assert [its.numbers for its in rounds] == [[0, 1, 2, 3], [4, 0, 1, 2], [3, 4, 0, 1]]


def test_what_was_served_comes_back_from_json_as_it_was():
    (found,) = serve(Echo(), [System("one", SingleSample())], rounds_of(PROBLEMS, 2, [1], lambda s, n: n))
    assert Served.of_json(found.to_json()) == found
    assert found.problems_per_second == pytest.approx(2 / found.blocks[0].seconds)
