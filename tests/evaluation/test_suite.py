import threading

import pytest
from controllable_inference.engine.events import Done, Failed
from controllable_inference.engine.request import Result, SamplingParams, Usage
from controllable_inference.evaluation import report
from controllable_inference.evaluation.driver import RequestFailed, ask_all
from controllable_inference.evaluation.problems import Problem
from controllable_inference.evaluation.suite import Evaluation, Measured, Outcome, evaluate
from controllable_inference.evaluation.systems import System

PROBLEMS = [Problem("gcd", n % 3, f"question {n}", str(n), {"result": n}) for n in range(6)]


class Echo:
    """An engine that answers `question N` with N from another thread, or fails."""

    def __init__(self, fails=False):
        self.fails = fails
        self.in_flight = self.most = 0

    def submit(self, messages, sampling, budget, on_event, *, controller, streaming):
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)

        def answer():
            self.in_flight -= 1
            if self.fails:
                on_event(Failed("QueueTimeout", "no place came free"))
            else:
                word = messages[-1]["content"].split()[-1]
                usage = Usage(completion_tokens=10, paths_started=4, paths_pruned=1, paths_stopped=2)
                on_event(Done("stop", Result(word, word, 1.0, usage=usage)))

        threading.Timer(0.002, answer).start()


def test_answers_come_in_the_order_of_the_questions_with_a_bounded_number_in_flight():
    engine = Echo()
    results, seconds = ask_all(engine, [p.question for p in PROBLEMS], [SamplingParams()] * 6, concurrency=2)
    assert [result.answer for result in results] == ["0", "1", "2", "3", "4", "5"]
    assert engine.most <= 2
    assert seconds > 0


def test_a_failed_request_fails_the_run_with_the_engines_words():
    with pytest.raises(RequestFailed, match="QueueTimeout: no place came free"):
        ask_all(Echo(fails=True), ["question 1"] * 3, [SamplingParams()] * 3, concurrency=1)


def test_outcomes_are_judged_by_the_verifier_and_counted_from_usage():
    evaluation = evaluate(Echo(), PROBLEMS, [System("echo", None)], seed=1, concurrency=3)
    (measured,) = evaluation.measured
    assert measured.accuracy().mean == 1.0
    assert measured.tokens().mean == 10
    assert measured.pruned_share().mean == 0.25
    assert measured.stopped_share().mean == 0.5


def outcomes(*right):
    return [Outcome(bool(r), 100 + 10 * n, 4, 1, 0, 1.0) for n, r in enumerate(right)]


EVALUATION = Evaluation(
    PROBLEMS[:4],
    [
        Measured("one", outcomes(1, 0, 0, 0), seconds=2.0),
        Measured("all", outcomes(1, 1, 0, 0), seconds=4.0),
    ],
    seed=1,
    concurrency=2,
)


def test_figures_by_hand():
    one, everything = EVALUATION.measured
    assert one.accuracy().mean == 0.25
    assert everything.tokens().mean == 115
    assert everything.problems_per_second == 1.0
    assert everything.gain_over(one).mean == 0.25
    assert everything.accuracy(EVALUATION.where(lambda p: p.level == 0)).mean == 0.5


def test_the_report_says_the_same_in_markdown_and_json():
    text, data = report.markdown(EVALUATION), report.as_json(EVALUATION)
    assert "| all | 50.0% [" in text
    assert "| one | 25.0% [" in text
    assert data["systems"]["all"]["accuracy"]["mean"] == 0.5
    assert data["systems"]["all"]["groups"]["level 0"] == {
        "problems": 2,
        "accuracy": 0.5,
        "path_tokens": 115,
    }
    assert report.table(EVALUATION).row_count == 2
