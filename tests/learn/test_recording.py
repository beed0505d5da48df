import random
import time

import pytest
import torch
from controllable_inference.bench import archive, second
from controllable_inference.bench.problem_sets import ProblemSet
from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.features import STATISTICS
from controllable_inference.core.request import RequestBudget, SamplingParams
from controllable_inference.core.views import PathView, PromptView, RequestView
from controllable_inference.errors import RequestError
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.problems import Problem, is_correct
from controllable_inference.learn.recording import Recorder, RecordingError, record
from controllable_inference.learn.records import PathRecord, ProblemRecord
from talker import talker
from tiny_engines import make_engine, make_tokenizer


def vector(value):
    """A gate's input: a hidden state of one number, and statistics."""
    return torch.tensor([value + 0.5, *([value] * len(STATISTICS))])


def at_boundary(index, tokens, value):
    statistics = tuple(vector(value)[-len(STATISTICS) :].tolist())
    return PathView(index, "running", tokens, 1, 0.0, at_boundary=True, statistics=statistics)


def test_a_recorder_votes_like_full_voting_and_notes_whose_features_it_saw():
    recorder = Recorder(2, 99)
    hidden = torch.ones(3, 4)
    prompt = PromptView(3, hidden, 1000, SamplingParams(), RequestBudget())
    plan = recorder.plan(prompt)
    assert (plan.paths, plan.token_cap) == (2, 99)
    assert torch.equal(recorder.prompt_hidden, hidden.half())
    # the engine scores both at once, in an order of its own
    assert recorder.score(torch.stack([vector(2.0), vector(1.0)])).tolist() == [0, 0]
    view = RequestView(plan, (at_boundary(0, 10, 1.0), at_boundary(1, 12, 2.0)))
    assert recorder.decide(view) == []
    recorder.score(vector(3.0)[None])
    recorder.decide(RequestView(plan, (PathView(0, "kept", 15, 1, 0.0), at_boundary(1, 20, 3.0))))
    assert recorder.boundaries == [[10], [12, 20]]
    assert [[float(f[0]) for f in features] for features in recorder.features] == [[1.5], [2.5, 3.5]]


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_recorder_keeps_no_numbers_that_are_none_or_that_16_bits_do_not_hold(value):
    recorder = Recorder(2, 99)
    with pytest.raises(RecordingError, match="no numbers, or beyond what 16 bits hold"):
        recorder.score(vector(value)[None])
    prompt = PromptView(3, torch.full((3, 4), value), 1000, SamplingParams(), RequestBudget())
    with pytest.raises(RecordingError, match="no numbers, or beyond what 16 bits hold"):
        recorder.plan(prompt)


@pytest.fixture
def engine():
    opened = []

    def start(**config):
        opened.append(make_engine(talker(), make_tokenizer(), SingleSample(), **config))
        return opened[-1]

    yield start
    for one in opened:
        one.shutdown()


QUESTIONS = [Problem("gcd", 0, f"{n}+1=", "1", {}) for n in range(6)]


def test_what_is_recorded_is_judged_and_quick_paths_are_there_where_they_are_wanted(engine):
    made = record(
        engine(),
        QUESTIONS,
        range(6),
        paths=3,
        token_cap=60,
        fast_seeds=range(6),
        fast_paths=2,
        judge=lambda problem, answer: answer == "1",
    )
    assert [r.question for r in made] == [p.question for p in QUESTIONS]
    assert all((len(r.paths), len(r.fast)) == (3, 2) for r in made)
    paths = [path for r in made for path in (*r.paths, *r.fast)]
    assert all(path.right == (path.answer == "1") for path in paths)
    assert len({path.right for path in paths}) == 2
    assert all(len(path.features) >= len([b for b in path.boundaries if b < path.tokens]) for path in paths)


def test_memory_is_shared_so_that_no_recorded_path_is_pruned(engine):
    made = record(engine(kv_blocks=24), QUESTIONS, range(6), paths=4, token_cap=60)
    assert all(len(r.paths) == 4 for r in made)


def test_however_slowly_it_is_asked_a_recording_takes_the_same_steps_and_is_the_same_to_the_last_digit(
    engine, monkeypatch
):
    """What is computed beside a row decides its last digits, on some machines, and threads must not."""
    draws = random.Random(1)

    def slowly(question):
        time.sleep(draws.choice([0, 0.005, 0.02]))
        return question

    one = engine()
    compute, steps = one._runner.compute, []
    monkeypatch.setattr(one._runner, "compute", lambda inputs: steps.append(inputs.tokens) or compute(inputs))

    def recorded():
        steps.clear()
        asked = {"paths": 3, "token_cap": 30, "fast_seeds": range(6), "fast_paths": 2, "concurrency": 4}
        made = record(one, QUESTIONS, range(6), prompt=slowly, **asked)
        features = [path.features for its in made for path in its.paths]
        return list(steps), [[its.prompt_hidden for its in made], features]

    first_steps, first_states = recorded()
    for _ in range(2):
        again_steps, again_states = recorded()
        assert again_steps == first_steps
        torch.testing.assert_close(again_states, first_states, rtol=0, atol=0)


def test_what_the_engine_refuses_is_told_to_who_asked_and_nothing_more_is_asked(engine):
    asked = []

    def prompt(question):
        asked.append(question)
        return question if len(asked) < 3 else ""

    with pytest.raises(RequestError, match="prompt: holds no token"):
        ask_all(
            engine(),
            [problem.question for problem in QUESTIONS],
            [SamplingParams(seed=1, max_tokens=5)] * 6,
            concurrency=1,
            prompt=prompt,
        )
    assert len(asked) == 3


def test_a_path_that_something_ended_early_is_not_taken_for_a_whole_one(engine):
    """Memory for one request is there, but not for all paths of one."""
    with pytest.raises(RecordingError, match=r"problem .*0\+1=.*: a path ended early"):
        record(engine(kv_blocks=12), QUESTIONS[:1], [0], paths=16, token_cap=200)


def test_a_question_that_does_not_fit_is_named(engine):
    long = Problem("gcd", 0, "1+" * 200, "1", {})
    with pytest.raises(RecordingError, match=r"takes \d+ tokens, of \d+ that fit; leave it out"):
        record(engine(), [long], [0], paths=2, token_cap=10)


def model_folder(folder):
    for name, content in (("model.safetensors", b"a"), ("gate.safetensors", b"b"), ("config.json", b"{}")):
        (folder / name).write_bytes(content)
    return folder


def test_recordings_belong_to_the_weights_that_wrote_them_and_not_to_the_gate(tmp_path):
    folder = model_folder(tmp_path)
    before = archive.fingerprint(folder)
    (folder / "gate.safetensors").write_bytes(b"other")
    assert archive.fingerprint(folder) == before
    (folder / "model.safetensors").write_bytes(b"other")
    assert archive.fingerprint(folder) != before


def test_a_chunk_is_kept_under_all_that_it_depends_on(tmp_path):
    problems = tuple(Problem("gcd", 0, f"question {n}", "1", {}) for n in range(3))
    part = ProblemSet("test", 1, problems)
    others = [
        ProblemSet("test", 2, problems),
        ProblemSet("test", 1, problems[:2]),
        ProblemSet("test", 1, problems, paths=8),
    ]
    names = {archive.file_of(tmp_path, p.chunks()[0]) for p in (part, *others)}
    assert len(names) == 4
    assert archive.file_of(tmp_path, part.chunks()[0]) in names


def test_a_recording_that_another_version_left_is_made_anew(tmp_path):
    record = ProblemRecord(
        "gcd", 0, "?", torch.zeros(1, 1), [PathRecord(1, [], torch.zeros(0, 1), "1", True)], []
    )
    file = tmp_path / "chunk.pt"
    assert archive.load(file) is None
    archive.save([record], file)
    assert [r.question for r in archive.load(file)] == ["?"]
    torch.save({"statistics": ("old",), "problems": []}, file)
    assert archive.load(file) is None


def test_sums_of_the_second_model_are_different_and_their_solutions_right():
    problems = second.sums(40, seed=1)
    assert len({p.question for p in problems}) == 40
    for problem in problems:
        text = second.solution(problem.question)
        assert is_correct(problem, text[text.index("{") + 1 : -1])
    prompt = second.prompt(problems[:2], problems[2].question)
    assert prompt.count("Answer") == 2
    assert prompt.endswith(f"\n\n{problems[2].question}\n")


def test_a_model_that_is_not_there_is_asked_for_in_vain(tmp_path):
    from controllable_inference.bench.run import options_of
    from controllable_inference.errors import ModelNotFound

    with pytest.raises(ModelNotFound, match="there is no folder"):
        options_of(tmp_path / "nowhere", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()
    with pytest.raises(ModelNotFound, match=r"holds no \*\.safetensors"):
        options_of(tmp_path)
    folder = model_folder(tmp_path)
    (folder / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelNotFound, match="--second-model: there is no"):
        options_of(folder, second=str(tmp_path / "nothing"))
