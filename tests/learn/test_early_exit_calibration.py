"""What early exits cost a model is measured on problems, and written beside its weights."""

import pytest
from controllable_inference.core.config import ControlConfig, ControlSettings
from controllable_inference.core.early_exit import EarlyExit
from controllable_inference.core.load import load_controller
from controllable_inference.core.views import Trial
from controllable_inference.learn.early_exit import Tried, calibrate, early_exit_config, exit_of
from controllable_inference.learn.problems import Split
from controllable_inference.learn.task import Task, TaskProblem


def trials(*keys):
    return [Trial(10 * n, key, key) for n, key in enumerate(keys, start=1)]


@pytest.mark.parametrize(
    ("keys", "patience", "at"),
    [
        (("5", "5"), 1, 10),
        (("5", "5"), 2, 20),
        (("4", "5", "5"), 2, 30),
        (("4", "5", "4"), 2, None),
        ((None, None), 2, None),
    ],
)
def test_a_path_would_have_been_closed_at_the_trial_where_so_many_in_a_row_agree(keys, patience, at):
    found = exit_of(trials(*keys), patience)
    assert (found and found.tokens) == at


def test_an_answer_is_lost_where_the_path_itself_had_come_to_a_right_one():
    never = (None,) * 7
    seen = early_exit_config(
        [
            Tried(True, 100, ((40, False), *never)),  # lost
            Tried(True, 100, ((40, True), *never)),
            Tried(False, 100, ((40, False), *never)),  # nothing to lose
            Tried(True, 100, (None, *never)),
        ],
        every=1,
    )
    assert (seen.problems, seen.right, seen.lost[:2]) == (4, 3, [1, 0])
    assert seen.thinking[:2] == [0.55, 1.0]


def test_it_is_written_into_control_json_and_a_risk_can_be_asked_for(talker_checkpoint, tmp_path):
    problems = [TaskProblem(f"{n}+1=", "1", id=f"sum-{n}") for n in range(400)]
    task = Task("sums", problems, lambda problem, answer: answer == problem.answer)
    config = calibrate(talker_checkpoint, task, most=80, token_cap=40, output=tmp_path, seed=3)
    assert config == ControlConfig.load(tmp_path)
    seen = config.early_exit
    asked = len(task.part(Split.CALIBRATION, 80))
    assert (seen.problems, len(seen.lost)) == (asked, 8)
    assert 0 < seen.right < asked
    assert seen.thinking == sorted(seen.thinking)  # more patience, more thinking
    assert seen.thinking[0] < 1
    allowed = ControlSettings.parse({"earlyExit": {"maxRisk": "0.9"}})
    assert isinstance(load_controller(tmp_path, config, allowed, 32, thinks=True), EarlyExit)
