"""`controllable-inference train`, as somebody types it."""

import json
import shutil
import sys
from functools import partial

import pytest
from controllable_inference import ControllableInference
from controllable_inference.cli import main
from controllable_inference.core.config import CONTROL_FILE, ControlConfig
from controllable_inference.learn import command, control
from controllable_inference.learn.budget import BudgetRecipe
from controllable_inference.learn.gate import GateRecipe
from controllable_inference.learn.policy import PolicyRecipe, PPORecipe
from controllable_inference.learn.task import PER_CELL, Task, TaskProblem

SMALL = ["--problems-per-split", "20", "--paths", "4", "--max-tokens", "24", "--recall", "0.6"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Less to learn, in less time."""
    ppo = PPORecipe(steps=256, rows=16, moments=4, batch=32, epochs=1)
    monkeypatch.setattr(control, "GateRecipe", partial(GateRecipe, steps=50))
    monkeypatch.setattr(control, "BudgetRecipe", partial(BudgetRecipe, steps=50))
    monkeypatch.setattr(control, "PolicyRecipe", partial(PolicyRecipe, ppo=ppo, trials=1))


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) -> exit status and what was written to standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["controllable-inference", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code, " ".join((shown.out + shown.err).split())

    return run


@pytest.fixture
def model(talker_checkpoint, tmp_path):
    return shutil.copytree(talker_checkpoint, tmp_path / "model")


@pytest.fixture
def problems(tmp_path):
    file = tmp_path / "sums.jsonl"
    file.write_text("\n".join(json.dumps({"question": f"{n}+1=", "answer": "1"}) for n in range(150)))
    return file


def test_one_command_trains_everything_from_a_file_of_problems(run, model, problems, tmp_path):
    status, said = run("train", "all", model, "--problems", problems, "--work", tmp_path / "work", *SMALL)
    assert status == 0, said
    assert f"written: {model / CONTROL_FILE}" in said
    config = ControlConfig.load(model)
    assert config.gate is not None
    assert config.budget is not None
    assert config.policy is not None
    assert config.budget.base_paths == 4
    with ControllableInference.from_pretrained(model) as served:
        result = served.generate("7+1=", budget=1.0, seed=1)
    assert any(path.scores for path in result.paths)

    others = ["--problems", problems, "--work", tmp_path / "work", "--output", tmp_path / "gate", *SMALL]
    status, said = run("train", "gate", model, *others, "--seed", "7")
    assert status == 0, said
    assert "recordings done" in said
    assert ControlConfig.load(tmp_path / "gate").budget == config.budget


def test_a_task_of_ones_own_is_found_in_the_working_directory(run, model, tmp_path, monkeypatch):
    (tmp_path / "ones_task.py").write_text(
        "from controllable_inference.learn.task import Task, TaskProblem\n"
        "def task():\n"
        "    problems = [TaskProblem(f'{n}+1=') for n in range(150)]\n"
        "    return Task('ones', problems, verifier=lambda problem, answer: answer == '1')\n"
    )
    monkeypatch.chdir(tmp_path)
    status, said = run("train", "budget", "model", "--task", "ones_task:task", *SMALL, "--threads", "1")
    assert status == 0, said
    assert ControlConfig.load(model).data["task"]["name"] == "ones"
    assert (tmp_path / "build" / "train").is_dir()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "chemistry"], "error: there is no task chemistry; known are reasoning-gym"),
        (["--problems", "nowhere.jsonl"], "error: nowhere.jsonl can't be read"),
        (
            ["--problems", "a.jsonl", "--task", "b:c"],
            "error: --task b:c and --problems a.jsonl are two tasks",
        ),
        (["--paths", "1"], "Invalid value for '--paths'"),
        (["--temperature", "0"], "Invalid value for '--temperature'"),
        (["--on-verifier-error", "maybe"], "Invalid value for '--on-verifier-error'"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(run, model, options, said):
    status, shown = run("train", "gate", model, *options)
    assert status != 0
    assert said in shown.replace("│ ", "").replace(" │", "")


def test_a_folder_that_is_no_model_is_told(run, problems, tmp_path):
    (tmp_path / "empty").mkdir()
    status, said = run("train", "gate", tmp_path / "empty", "--problems", problems)
    assert status == 1
    assert "holds no *.safetensors" in said


def test_a_verifier_that_raises_stops_or_counts_as_wrong(run, model, tmp_path, monkeypatch):
    def moody(problem, answer):
        return {"1": True}[answer]

    task = Task("moody", [TaskProblem(f"{n}+1=", "1", id=f"sum-{n}") for n in range(150)], verifier=moody)
    monkeypatch.setattr(command.tasks, "find", lambda name, per_cell: task)
    arguments = ["train", "gate", model, "--task", "moody", "--work", tmp_path / "work", *SMALL]
    status, said = run(*arguments)
    assert status == 1
    assert "error: the verifier failed on problem sum-" in said
    status, said = run(*arguments, "--on-verifier-error", "wrong")
    assert status == 0, said
    assert "answers count as wrong" in said


def test_the_suite_is_made_as_large_as_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(command.tasks, "find", lambda name, per_cell: asked.append(per_cell))
    command.find_task("reasoning-gym", None, None)
    command.find_task("reasoning-gym", None, 240)
    assert asked[0] == PER_CELL
    assert set(asked[1].values()) == {240 // 24 + (240 % 24 > 0)}


@pytest.mark.parametrize("part", ["gate", "budget", "policy", "all"])
def test_help_says_what_is_trained_and_gives_an_example(run, part):
    status, said = run("train", part, "--help")
    assert status == 0
    assert f"controllable-inference train {part}" in said
    for option in ("--problems", "--task", "--paths", "--seed", "--on-verifier-error", "--output", "--work"):
        assert option in said


def test_help_teaches_what_a_task_is(run):
    status, said = run("train", "--help")
    assert status == 0
    for words in (
        "module:function",
        '"question"',
        "controllable_inference.tasks",
        "60 %",
        "examples/gcd_task.py",
    ):
        assert words in said.replace("│ ", "").replace(" │", "")
