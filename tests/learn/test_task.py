import json
from importlib import metadata

import pytest
from controllable_inference.learn import task as tasks
from controllable_inference.learn.problems import (
    CONTROL_FAMILIES,
    FAMILIES,
    SUITE_SHARES,
    Split,
    split_of,
)
from controllable_inference.learn.task import (
    SHARES,
    Judge,
    Task,
    TaskError,
    TaskProblem,
    VerifierError,
    from_jsonl,
    same_answer,
)


def problems(count):
    return [TaskProblem(f"question {n}", str(n)) for n in range(count)]


def jsonl(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


# splits


def test_every_problem_belongs_to_one_split_and_the_shares_are_kept():
    task = Task("counting", problems(2000))
    parts = {split: task.part(split) for split in SHARES}
    assert sorted(p.question for part in parts.values() for p in part) == sorted(
        p.question for p in task.problems
    )
    for split, share in SHARES.items():
        assert len(parts[split]) == pytest.approx(2000 * share, rel=0.2)


def test_a_split_does_not_change_when_problems_are_added_moved_or_padded():
    before = {p.question for p in Task("few", problems(200)).part(Split.GATE)}
    more = [TaskProblem(f"  question {n}\n", str(n)) for n in reversed(range(400))]
    after = {p.question.strip() for p in Task("many", more).part(Split.GATE)}
    assert before < after


def test_asking_for_more_problems_only_adds_to_them():
    task = Task("counting", problems(200))
    assert task.part(Split.GATE, 40)[:30] == task.part(Split.GATE, 30)


def test_the_suite_is_split_as_the_base_models_own_training_is():
    task = Task("counting", problems(400), shares=SUITE_SHARES)
    for split in SUITE_SHARES:
        if split is not Split.BASE:
            assert {p.question for p in task.part(split)} == {
                p.question for p in task.problems if split_of(p.question) is split
            }


def test_control_never_learns_from_families_that_it_is_tested_on_as_unseen():
    task = tasks.suite({Split.GATE: 2, Split.VALIDATION: 1, Split.CALIBRATION: 1, Split.TEST: 1})
    assert {p.family for p in task.part(Split.GATE)} == set(CONTROL_FAMILIES)
    assert {p.family for p in task.part(Split.TEST)} == set(FAMILIES)
    assert all(split_of(p.question) is Split.GATE for p in task.part(Split.GATE))
    problem = task.problems[0]
    assert task.verifier(problem, problem.answer)
    assert not task.verifier(problem, "nonsense")


def test_too_few_problems_say_how_many_it_takes():
    few = Task("few", problems(30))
    with pytest.raises(TaskError, match=r"few: \d+ of its 30 problems fall into the calibration split.*8 at"):
        few.part(Split.CALIBRATION)
    with pytest.raises(TaskError, match=r"5 problems are too few for the gate split, which takes 20"):
        Task("many", problems(300)).part(Split.GATE, 5)
    with pytest.raises(TaskError, match="nothing has no problems"):
        Task("nothing", [])


def test_one_question_with_two_answers_is_refused_and_a_mere_repetition_dropped():
    with pytest.raises(TaskError, match=r"asks the same in a \('1\+1'\) and b.*'2' and '3'"):
        Task("torn", [TaskProblem("1+1", "2", "a"), TaskProblem("1+1 ", "3", "b")])
    assert len(Task("twice", [TaskProblem("1+1", "2"), TaskProblem("1+1", "2")]).problems) == 1


def test_shares_must_add_up():
    with pytest.raises(TaskError, match=r"add up to 0\.5"):
        Task("half", problems(5), shares={Split.GATE: 0.5})


# files


def test_a_file_of_questions_and_answers_is_a_task(tmp_path):
    file = jsonl(
        tmp_path / "sums.jsonl",
        {"question": "1+1", "answer": "2", "family": "sums", "level": 1, "source": "mine"},
        "",
        {"question": "one half", "answer": 0.5, "id": 7},
    )
    task = from_jsonl(file)
    assert task.name == "sums"
    first, second = task.problems
    assert (first.family, first.level, first.id) == ("sums", 1, f"{file}, line 1")
    assert (second.answer, second.id) == ("0.5", "7")
    assert task.verifier(second, "1/2")
    assert task.verifier(first, " 2.0")
    assert not task.verifier(first, "two")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"line 2: is not JSON"),
        ("[1]", r"line 2: must be an object"),
        ({"answer": "2"}, r"line 2: question: is missing"),
        ({"question": " ", "answer": "2"}, r"line 2: question: must be text that is not empty"),
        ({"question": "1\ud83d", "answer": "2"}, r"line 2: question: must be Unicode text"),
        ({"question": "1 + 1", "answer": "\ud83d"}, r"line 2: answer: must be Unicode text"),
        ("[" * 100_000, r"line 2: is not JSON"),
        ({"question": "1+2"}, r"line 2: answer: is missing"),
        ({"question": "1+2", "answer": None}, r"line 2: answer: .*is None"),
        ({"question": "1+2", "answer": True}, r"line 2: answer: .*is True"),
        ({"question": 3, "answer": "2"}, r"line 2: question: .*is 3"),
        ({"question": "1+2", "answer": "3", "level": "hard"}, r"line 2: level: must be a whole number"),
    ],
)
def test_a_malformed_line_is_named_with_its_field(tmp_path, line, said):
    file = jsonl(tmp_path / "bad.jsonl", {"question": "1+1", "answer": "2"}, line)
    with pytest.raises(TaskError, match=said):
        from_jsonl(file)


def test_an_empty_or_missing_file_says_what_belongs_in_it(tmp_path):
    with pytest.raises(TaskError, match=r'empty\.jsonl has no problems; write one \{"question"'):
        from_jsonl(jsonl(tmp_path / "empty.jsonl", "", ""))
    with pytest.raises(TaskError, match=r"nowhere\.jsonl can't be read"):
        from_jsonl(tmp_path / "nowhere.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match=r"binary\.jsonl can't be read"):
        from_jsonl(tmp_path / "binary.jsonl")


# functions


def test_a_function_in_the_working_directory_is_a_task(tmp_path, monkeypatch):
    (tmp_path / "my_own_task.py").write_text(
        "from controllable_inference.learn.task import Task, TaskProblem\n"
        "def task():\n    return Task('mine', [TaskProblem('1+1', '2')])\n"
        "def broken():\n    raise RuntimeError('no database')\n"
        "def number():\n    return 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    assert tasks.find("my_own_task:task").name == "mine"
    with pytest.raises(TaskError, match="my_own_task:broken can't be made: RuntimeError: no database"):
        tasks.find("my_own_task:broken")
    with pytest.raises(TaskError, match="gave a int; its function must return a Task"):
        tasks.find("my_own_task:number")
    with pytest.raises(TaskError, match="my_own_task:nothing can't be made: AttributeError"):
        tasks.find("my_own_task:nothing")
    with pytest.raises(TaskError, match="no_such_module:task can't be made: ModuleNotFoundError"):
        tasks.find("no_such_module:task")
    with pytest.raises(TaskError, match=":task is not of the form module:function"):
        tasks.find(":task")


def test_an_unknown_name_lists_the_known_ones(monkeypatch):
    offered = [metadata.EntryPoint("chemistry", "chem:task", tasks.ENTRY_POINTS)]
    monkeypatch.setattr(tasks, "entry_points", lambda group: offered if group == tasks.ENTRY_POINTS else [])
    with pytest.raises(TaskError, match=r"no task maths; known are chemistry, reasoning-gym\. .*module:func"):
        tasks.find("maths")
    with pytest.raises(TaskError, match="chemistry can't be made"):  # found, but there is no such module
        tasks.find("chemistry")


# verifiers


def test_a_verifier_is_asked_once_for_each_answer_and_never_without_one():
    asked = []
    judge = Judge(lambda problem, answer: asked.append(answer) or same_answer(problem, answer))
    problem = TaskProblem("1+1", "2")
    assert [judge(problem, a) for a in ("2", "3", "2", None)] == [True, False, True, False]
    assert asked == ["2", "3"]


def test_a_verifier_that_raises_is_reported_with_problem_answer_and_reason():
    judge = Judge(lambda problem, answer: int(answer) == 2)
    with pytest.raises(VerifierError, match=r"problem sum-1 \('1\+1'\), answer 'two': ValueError.*wrong"):
        judge(TaskProblem("1+1", id="sum-1"), "two")


def test_a_verifier_that_says_neither_true_nor_false_is_no_verifier():
    for verdict in ("no", 0.5, None):
        with pytest.raises(VerifierError, match=f"returned {verdict!r} in place of True or False"):
            Judge(lambda problem, answer, v=verdict: v)(TaskProblem("1+1"), "2")
    assert Judge(lambda problem, answer: 1.0)(TaskProblem("1+1"), "2") is True


def test_failures_may_count_as_wrong_and_are_kept():
    judge = Judge(lambda problem, answer: int(answer) == 2, tolerant=True)
    problem = TaskProblem("1+1")
    assert [judge(problem, a) for a in ("2", "two", "two")] == [True, False, False]
    assert len(judge.errors) == 1
