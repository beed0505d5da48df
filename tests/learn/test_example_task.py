"""The example of a task of one's own does what it says, and the nano model can do it."""

import re
from pathlib import Path

from controllable_inference.core.answer import normalise
from controllable_inference.learn import task as tasks
from controllable_inference.learn.problems import Split
from controllable_inference.learn.task import NEEDED, Judge

ROOT = Path(__file__).parents[2]


def test_the_example_is_a_task_with_enough_problems_for_the_promise(monkeypatch):
    monkeypatch.chdir(ROOT)
    task = tasks.find("examples.gcd_task:task")
    for split in NEEDED:
        assert len(task.part(split)) >= NEEDED[split]
    assert len(task.part(Split.CALIBRATION)) >= 60


def test_its_verifier_judges_whatever_a_model_may_write(monkeypatch):
    monkeypatch.chdir(ROOT)
    task = tasks.find("examples.gcd_task:task")
    judge = Judge(task.verifier)
    problem = next(p for p in task.problems if p.metadata[0] % 2 == p.metadata[1] % 2 == 0)
    numbers = [int(n) for n in re.findall(r"\d+", problem.question)]
    assert numbers == problem.metadata
    divisors = [d for d in range(1, max(numbers) + 1) if all(n % d == 0 for n in numbers)]
    verdicts = {str(d): judge(problem, f" {d}\n") for d in divisors}
    assert [d for d, right in verdicts.items() if right] == [str(max(divisors))]
    assert not any(judge(problem, answer) for answer in ("", "two", "-2", "²", "2.0 or 4", normalise("1/2")))


def test_the_command_in_its_docstring_is_the_one_that_help_gives():
    text = (ROOT / "examples" / "gcd_task.py").read_text()
    assert "controllable-inference train all models/nano --task examples.gcd_task:task" in text
