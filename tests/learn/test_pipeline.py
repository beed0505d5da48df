"""The whole way from a checkpoint and problems to a control.json, on a tiny random model."""

import io
import json
import shutil
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from controllable_inference import ControllableInference
from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.config import CONTROL_FILE, ControlConfig, ControlSettings
from controllable_inference.core.gate import PathGate
from controllable_inference.core.load import load_controller
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.errors import ControlConfigError
from controllable_inference.learn import control, pipeline
from controllable_inference.learn.budget import BudgetRecipe
from controllable_inference.learn.gate import GateRecipe
from controllable_inference.learn.pipeline import Part, TrainingError, TrainingOptions
from controllable_inference.learn.policy import PolicyRecipe, PPORecipe
from controllable_inference.learn.problems import Split
from controllable_inference.learn.progress import Progress
from controllable_inference.learn.recording import RecordingError
from controllable_inference.learn.records import RecordsError
from controllable_inference.learn.rollouts import Sampling, record
from controllable_inference.learn.shards import Shards, model_digest
from controllable_inference.learn.task import Task, TaskError, TaskProblem, VerifierError, from_jsonl
from rich.console import Console
from talker import talker
from tiny_engines import make_engine, make_tokenizer, save_checkpoint

from models.nano.recipe import card
from models.nano.recipe.base import BaseRecipe

PARTS = list(Part)
OPTIONS = TrainingOptions(Sampling(paths=4, fast_paths=2, token_cap=24), problems=20, recall=0.6)


@pytest.fixture(scope="module", autouse=True)
def _small():
    """Less to learn, in less time. The options above make recordings small, too."""
    ppo = PPORecipe(steps=128, rows=16, moments=4, batch=32, epochs=1, checks=2, orders=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "GateRecipe", partial(GateRecipe, steps=50))
        patch.setattr(control, "BudgetRecipe", partial(BudgetRecipe, steps=50))
        patch.setattr(control, "PolicyRecipe", partial(PolicyRecipe, ppo=ppo, trials=2))
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def sums(count=150, answer="1"):
    return [TaskProblem(f"{n}+1=", answer, id=f"sum-{n}") for n in range(count)]


@pytest.fixture
def model(talker_checkpoint, tmp_path):
    """A checkpoint without control."""
    return shutil.copytree(talker_checkpoint, tmp_path / "model")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """Recordings that tests share: those of the same model, task and sampling are the same."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def recorded(monkeypatch):
    """Questions in the order in which they are recorded."""
    asked: list[str] = []

    def record(engine, problems, *args, **options):
        asked.extend(problem.question for problem in problems)
        return original(engine, problems, *args, **options)

    original = pipeline.record
    monkeypatch.setattr(pipeline, "record", record)
    return asked


@pytest.fixture(scope="module")
def trained_once(_small, talker_checkpoint, work, tmp_path_factory):
    model = shutil.copytree(talker_checkpoint, tmp_path_factory.mktemp("trained") / "model")
    pipeline.train(model, Task("sums", sums()), PARTS, work=work, options=OPTIONS, progress=quiet())
    return model


@pytest.fixture
def trained(trained_once, tmp_path):
    """A checkpoint with a control that was trained for it."""
    return shutil.copytree(trained_once, tmp_path / "model")


def quiet(file=None):
    return Progress(Console(file=io.StringIO(), width=200), file)


def train(model, work, parts=PARTS, task=None, options=OPTIONS, **others):
    progress = quiet()
    task = task or Task("sums", sums())
    config = pipeline.train(model, task, parts, work=work, options=options, progress=progress, **others)
    return config, progress.console.file.getvalue()


# what comes out


def test_a_file_of_problems_makes_a_control_that_loads_and_prunes(model, work, tmp_path):
    file = tmp_path / "sums.jsonl"
    file.write_text("\n".join(json.dumps({"question": p.question, "answer": p.answer}) for p in sums()))
    train(model, work, task=from_jsonl(file))
    with ControllableInference.from_pretrained(model) as served:
        results = [served.generate(f"{n}+1=", budget=1.0, seed=n) for n in range(200, 220)]
    paths = [path for result in results for path in result.paths]
    assert {path.reason for path in paths if path.fate in ("pruned", "stopped")} & {"gate", "policy"}
    assert len({path.score for path in paths}) > 3  # scores tell paths apart
    assert all(1 <= result.usage.paths_started <= 4 for result in results)


def test_control_json_tells_where_it_came_from(trained):
    config = ControlConfig.load(trained)
    assert config.data["task"]["name"] == "sums"
    assert config.data["model"] == model_digest(trained)
    recordings, validation = config.data["recordings"], config.figures["validation"]
    assert recordings["problems"]["gate"] == recordings["problems"]["calibration"] == 20
    assert recordings["problems"]["validation"] == validation["problems"] >= 8
    assert (recordings["paths"], recordings["seed"], recordings["token_cap"]) == (4, 7, 24)
    assert set(config.data["versions"]) == {"controllable-inference", "torch", "transformers"}
    assert config.data["gate_recipe"]["steps"] == 50
    assert 0 < validation["single_sample_accuracy"] < 1
    assert {"full_voting", "gate_only", "gate_and_budget", "policy"} <= set(validation["replay"])
    assert config.data["policy_recipe"]["trials"] == len(config.figures["policy"]["tried"]) == 2
    assert "test" not in config.figures


def test_the_test_split_is_reported_on_where_asked_for(model, work):
    config, _ = train(model, work, [Part.GATE], options=replace(OPTIONS, tested=True))
    assert config.figures["test"]["problems"] == config.data["recordings"]["problems"]["test"] > 0


def test_steps_and_thinking_are_marked_as_the_model_gives_them_away(trained):
    config = ControlConfig.load(trained)
    assert config.think_end == "</think>"
    assert config.fast_prefix == "</think>"  # what this chat template adds to leave thinking out


def test_a_model_that_does_not_think_aloud_is_never_fast(tmp_path, work):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    text = tokenizer.backend_tokenizer.to_str().replace("</think>", "<other>")
    tokenizer = type(tokenizer)(
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str(text),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    model = save_checkpoint(tmp_path / "plain", talker(), tokenizer)
    task = Task("ones", sums(), verifier=lambda problem, answer: answer.endswith("1"))
    config, _ = train(model, work, [Part.GATE, Part.BUDGET], task=task)
    assert config.think_end is None
    with ControllableInference.from_pretrained(model) as served:
        result = served.generate("7+1=", budget=0.0, seed=1)
    assert result.usage.paths_started == 1
    assert result.answer


# one part at a time


def test_each_part_is_trained_alone_and_keeps_the_other(trained, work):
    before = ControlConfig.load(trained)
    weights = (trained / "budget.safetensors").read_bytes()
    config, said = train(trained, work, [Part.GATE], options=replace(OPTIONS, recall=0.9))
    assert config.budget == before.budget
    assert config.gate.promised_probability != before.gate.promised_probability
    assert (trained / "budget.safetensors").read_bytes() == weights
    assert "now `train budget` too" in said
    assert "now `train policy` too" in said
    assert "gate_and_budget" in config.figures["validation"]["replay"]

    gate = config.gate
    config, said = train(trained, work, [Part.BUDGET])
    assert config.gate == gate
    assert "train budget" not in said


def test_a_policy_is_trained_beside_the_parts_that_are_there(trained, work):
    before = ControlConfig.load(trained)
    weights = {name: (trained / name).read_bytes() for name in ("gate.safetensors", "budget.safetensors")}
    (trained / "policy.safetensors").unlink()
    config, _ = train(trained, work, [Part.POLICY])
    assert (config.gate, config.budget) == (before.gate, before.budget)
    assert {name: (trained / name).read_bytes() for name in weights} == weights
    assert config.policy == before.policy  # the same seed, the same policy
    controller = load_controller(trained, config, ControlSettings(), hidden_size=32, thinks=True)
    assert controller.policy is not None


def test_only_confidence_rank_compares_a_path_with_its_siblings(trained):
    gated, by_rank = (
        load_controller(trained, config, ControlSettings(), hidden_size=32, thinks=True)
        for config in (ControlConfig.load(trained), None)
    )
    assert not gated.needs_siblings
    assert by_rank.needs_siblings


def test_a_policy_without_a_gate_is_refused(model, work):
    with pytest.raises(TrainingError, match="no gate: train gate first"):
        train(model, work, [Part.POLICY])


def test_a_budget_can_do_without_a_gate(model, work):
    config, _ = train(model, work, [Part.BUDGET])
    assert config.gate is None
    assert "budget_only" in config.figures["validation"]["replay"]
    assert not (model / "gate.safetensors").exists()


def test_output_goes_elsewhere_with_all_that_is_kept(trained, work, tmp_path):
    before = (trained / CONTROL_FILE).read_text()
    output = tmp_path / "new" / "control"
    config, _ = train(trained, work, [Part.GATE], output=output, options=replace(OPTIONS, recall=0.9))
    assert (trained / CONTROL_FILE).read_text() == before
    assert sorted(p.name for p in output.iterdir()) == [
        "budget.safetensors",
        CONTROL_FILE,
        "gate.safetensors",
        "policy.safetensors",
    ]
    load_controller(output, config, ControlSettings(), hidden_size=32, thinks=True)


# resuming


def test_a_killed_run_goes_on_where_it_was_and_ends_the_same(model, work, tmp_path, recorded, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD", 8)
    whole, _ = train(shutil.copytree(model, tmp_path / "undisturbed" / "model"), tmp_path / "whole")
    questions = list(recorded)
    recorded.clear()
    add = Shards.add

    def killed(self, made):
        path = add(self, made)
        if len(list(self.folder.glob("records-*.pt"))) == 2:
            (self.folder / "records-half.new").write_bytes(b"cut off in the middle of writing")
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(Shards, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        train(model, tmp_path / "work")
    assert recorded == questions[:16]
    monkeypatch.setattr(Shards, "add", add)
    recorded.clear()
    resumed, _ = train(model, tmp_path / "work")
    assert recorded == questions[16:]
    assert resumed.gate == whole.gate
    assert resumed.figures == whole.figures


def test_nothing_is_recorded_twice_unless_something_that_matters_has_changed(trained, work, recorded):
    train(trained, work)
    train(trained, work, [Part.GATE])
    other = Task("sums", sums(), verifier=lambda problem, answer: answer.startswith("1"))
    config, _ = train(trained, work, [Part.GATE], task=other)
    assert recorded == []
    more, _ = train(trained, work, [Part.GATE], options=replace(OPTIONS, problems=22))
    assert len(recorded) == 2 + sum(
        more.data["recordings"]["problems"][split] - config.data["recordings"]["problems"][split]
        for split in ("validation", "calibration")
    )


def test_recordings_belong_to_weights_task_and_sampling(model, work, tmp_path, recorded):
    def train_anything(model, **others):
        recorded.clear()
        train(model, work, [Part.BUDGET], **others)
        return recorded

    train_anything(model)
    assert not train_anything(model)
    assert train_anything(model, task=Task("others", sums()))
    hot = replace(OPTIONS, sampling=replace(OPTIONS.sampling, temperature=1.2))
    assert train_anything(model, options=hot)
    tuned = save_checkpoint(tmp_path / "tuned" / "model", talker(seed=1), make_tokenizer())
    assert train_anything(tuned)


def test_a_damaged_file_of_recordings_is_named(model, tmp_path):
    train(model, tmp_path / "work", [Part.BUDGET])
    (file, *_) = (tmp_path / "work").glob("*/records-*.pt")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(RecordsError, match=rf"{file.name} can't be read.*delete it"):
        train(model, tmp_path / "work", [Part.BUDGET])


def test_progress_is_quiet_in_a_log_and_keeps_what_stages_took(model, tmp_path):
    progress = quiet(tmp_path / "seconds.json")
    pipeline.train(
        model, Task("sums", sums()), PARTS, work=tmp_path / "work", options=OPTIONS, progress=progress
    )
    lines = progress.console.file.getvalue().splitlines()
    assert sum("recordings" in line for line in lines) == 1
    assert len(lines) < 20
    kept = json.loads((tmp_path / "seconds.json").read_text())
    assert kept.keys() == {"recordings", "control"}
    train(model, tmp_path / "work", [Part.BUDGET])
    pipeline.train(
        model,
        Task("sums", sums()),
        [Part.BUDGET],
        work=tmp_path / "work",
        options=OPTIONS,
        progress=quiet(tmp_path / "seconds.json"),
    )
    again = json.loads((tmp_path / "seconds.json").read_text())
    assert again["recordings"] == kept["recordings"]  # the time of the run that recorded


def test_on_a_terminal_a_bar_shows_problems_and_speed():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(console).bar("gate", total=10, done=4) as update:
        update(3, 600)
    shown = console.file.getvalue()
    assert "7/10" in shown
    assert "tokens/s" in shown


# what goes wrong


def test_too_few_problems_are_told_before_the_model_is_loaded(tmp_path):
    with pytest.raises(TaskError, match="takes 20 at least"):
        train(tmp_path, tmp_path / "work", task=Task("few", sums(10)))


def test_a_verifier_that_raises_stops_the_run_and_loses_nothing(model, tmp_path, recorded):
    broken = Task("sums", sums(), verifier=lambda problem, answer: 1 / 0)
    with pytest.raises(VerifierError, match=r"problem sum-\d+ .*ZeroDivisionError.*--on-verifier-error"):
        train(model, tmp_path / "work", task=broken)
    asked = list(recorded)
    train(model, tmp_path / "work", [Part.BUDGET])
    assert len(set(recorded)) == len(recorded)
    assert recorded[: len(asked)] == asked


def test_a_verifier_that_raises_now_and_then_may_count_as_wrong(model, work):
    moody = Task("sums", sums(), verifier=lambda problem, answer: {"1": True}[answer])
    config, said = train(model, work, [Part.GATE], task=moody, options=replace(OPTIONS, tolerant=True))
    assert config.data["recordings"]["verifier_errors"] > 0
    assert "answers count as wrong" in said


def test_there_is_nothing_to_learn_from_a_verifier_that_never_says_yes(model, work):
    never = Task("sums", sums(), verifier=lambda problem, answer: False)
    said = (
        r"nothing to learn, as all 80 paths .* gate split are wrong: one answered '[13]' to .* is '1'; take"
    )
    with pytest.raises(TrainingError, match=said):
        train(model, work, task=never)


def test_there_is_nothing_to_learn_from_a_verifier_that_always_says_yes(model, work):
    always = Task("sums", sums(), verifier=lambda problem, answer: True)
    longer = replace(OPTIONS, sampling=replace(OPTIONS.sampling, token_cap=200))  # so that all paths answer
    with pytest.raises(TrainingError, match=r"nothing to learn, as all 80 .* right: take harder problems"):
        train(model, work, task=always, options=longer)


def test_paths_without_an_answer_are_told_apart_from_wrong_ones(model, work):
    short = replace(OPTIONS, sampling=replace(OPTIONS.sampling, token_cap=1))
    with pytest.raises(TrainingError, match="none of them came to an answer; raise --max-tokens"):
        train(model, work, options=short)


def test_a_gate_of_another_size_is_not_kept(trained, work):
    config = ControlConfig.load(trained)
    foreign = config.gate.model_copy(update={"hidden_dim": 5})
    config.model_copy(update={"gate": foreign}).save(trained)
    with pytest.raises(ControlConfigError, match=r"gate\.hidden_dim is 5.*another model's.*train all"):
        train(trained, work, [Part.BUDGET])
    train(trained, work)  # which replaces it


def test_a_control_json_made_for_other_weights_is_not_kept(trained, work, tmp_path):
    tuned = save_checkpoint(tmp_path / "tuned", talker(seed=1), make_tokenizer())
    for name in (CONTROL_FILE, "gate.safetensors", "budget.safetensors"):
        shutil.copy(trained / name, tuned)
    with pytest.raises(ControlConfigError, match=r"made for a model with digest \w+, this one's is \w+"):
        train(tuned, work, [Part.GATE])
    config, _ = train(tuned, work)
    assert config.data["model"] == model_digest(tuned)


def test_weights_that_control_json_was_not_written_for_are_not_loaded(trained, work):
    PathGate(ControlConfig.load(trained).gate.hidden_dim).save(trained / "gate.safetensors")
    with pytest.raises(ControlConfigError, match=r"gate\.safetensors is not the file that control\.json"):
        ControllableInference.from_pretrained(trained)
    with pytest.raises(ControlConfigError, match="or from one that was stopped"):
        train(trained, work, [Part.BUDGET])
    train(trained, work, [Part.GATE])  # which replaces it


def test_a_model_that_writes_no_steps_is_told_so(trained, work):
    ControlConfig.load(trained).model_copy(update={"step_delimiters": ["@"]}).save(trained)
    with pytest.raises(
        TrainingError, match=r"no recorded path of the gate split has more than \d.*step_delimiters"
    ):
        train(trained, work)


def test_where_nothing_is_thought_about_there_is_no_policy_and_the_rest_is_kept(
    model, work, monkeypatch, capsys
):
    monkeypatch.setattr(control, "FAST_GRID", (0.0, 2.0))  # all that there are
    monkeypatch.setattr(control, "TOLERANCE", 1.0)
    config, said = train(model, work)
    assert config.gate is not None
    assert config.budget.fast_threshold == 2.0
    assert config.policy is None
    assert "policy: none; the budget answers all problems without thinking" in said
    with pytest.raises(TrainingError, match="nothing for a policy to decide: do without one"):
        train(model, work, [Part.POLICY])


def test_figures_of_parts_that_are_gone_do_not_stay(trained, work):
    config, _ = train(trained, work, options=replace(OPTIONS, tested=True))
    assert "test" in config.figures
    config, _ = train(trained, work, [Part.GATE], options=replace(OPTIONS, recall=0.9))
    assert set(config.figures) == {"policy", "validation"}


def test_a_foreign_or_broken_control_json_says_what_to_do(model, work):
    (model / CONTROL_FILE).write_text('{"layers": 3}')
    with pytest.raises(ControlConfigError, match=r"layers(.|\n)*Remove it to train everything anew"):
        train(model, work)


def test_kept_weights_that_are_missing_are_named(trained, work):
    (trained / "gate.safetensors").unlink()
    with pytest.raises(ControlConfigError, match=r"gate\.safetensors is missing"):
        train(trained, work, [Part.BUDGET])


@pytest.mark.parametrize(
    ("weight", "said"),
    [(float("nan"), "no distribution over tokens"), (1e6, "beyond what 16 bits hold")],
)
def test_a_model_whose_states_are_no_numbers_or_too_large_is_not_learned_from(tmp_path, weight, said):
    broken = talker()
    with torch.no_grad():
        broken.model.norm.weight[3] = weight
        broken.lm_head.weight[:, 3] = 0  # what it says stays the same
    model = save_checkpoint(tmp_path / "broken", broken, make_tokenizer())
    with pytest.raises(RecordingError, match=said):
        train(model, tmp_path / "work")


def test_a_question_that_does_not_fit_is_named(model, work):
    task = Task("sums", [*sums(), *(TaskProblem("1+" * 200 + str(n), "1", id=f"long-{n}") for n in range(9))])
    with pytest.raises(RecordingError, match=r"problem long-\d .* takes \d+ tokens, of 256 that fit"):
        train(model, work, task=task, options=replace(OPTIONS, problems=None))


def test_memory_is_shared_so_that_no_recorded_path_is_pruned():
    engine = make_engine(talker(), make_tokenizer(), SingleSample(), kv_blocks=24)
    records = record(engine, sums(12), Sampling(paths=4, fast_paths=2, token_cap=60))
    engine.shutdown()
    assert all(len(r.paths) == 4 for r in records)


def test_a_busy_machine_does_not_time_recordings_out(model, tmp_path, monkeypatch):
    one_by_one, hurried = 1, 0.001
    defaults = (one_by_one, 256, hurried, *EngineLimits.__init__.__defaults__[3:])
    monkeypatch.setattr(EngineLimits.__init__, "__defaults__", defaults)
    train(model, tmp_path / "work", [Part.BUDGET])


def test_a_place_that_can_not_be_written_to_is_told_first(model, work, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"can't be written to.*--output"):
        train(model, work, output=tmp_path / "file" / "control")


def test_a_promise_that_can_not_be_kept_is_told(model, work):
    _, said = train(model, work, [Part.GATE], options=replace(OPTIONS, recall=0.99))
    assert "no threshold keeps 99%" in said
    assert "promise less with --recall" in said


# recording


def test_a_recording_does_not_depend_on_what_else_is_recorded(model):
    with ControllableInference.from_pretrained(model) as served:
        together = record(served.engine, sums(6), OPTIONS.sampling)
        alone = record(served.engine, sums(6)[4:5], OPTIONS.sampling)[0]
    assert [p.text for p in alone.paths] == [p.text for p in together[4].paths]
    assert [p.text for p in alone.fast] == [p.text for p in together[4].fast]
    assert len(alone.fast) == 2
    for one, other in zip(alone.paths, together[4].paths, strict=True):
        assert torch.allclose(one.features.float(), other.features.float(), atol=2e-2)


def test_paths_are_labelled_with_what_the_problem_is_called_now(model, work):
    splits = {Split.GATE: 0.6, Split.VALIDATION: 0.2, Split.CALIBRATION: 0.2}
    task = Task("sums", [replace(p, family="sums", level=3) for p in sums()], shares=splits)
    subject = pipeline.Subject.load(model, model)
    problems = {split: task.part(split, 20) for split in splits}
    recorded = pipeline.record_task(subject, task, problems, work, OPTIONS, quiet())
    for split, records in recorded.splits.items():
        assert [r.question for r in records] == [p.question for p in problems[split]]
        assert {(r.family, r.level) for r in records} == {("sums", 3)}
        assert all(path.right == (path.answer == "1") for r in records for path in r.paths)


def test_a_card_can_be_written_from_what_training_leaves(trained):
    config = ControlConfig.load(trained)
    data = {
        **config.data,
        "base_recipe": asdict(BaseRecipe()),
        "base_cost": {"tokens": 2e6, "learned_tokens": 1e6, "wall_seconds": 60, "cpu_seconds": 30},
        "parameters": 1_500_000,
        "seconds": {"recordings": 120, "control": 60},
        "versions": {**config.data["versions"], "reasoning-gym": "0.1.25"},
    }
    written = card.render(data, config.model_dump(), config.figures)
    assert "problems of the validation split" in written
    accuracy = config.figures["validation"]["replay"]["gate_only"]["accuracy"]
    assert f"| gate only | {accuracy:.1%} |" in written
    assert "2 settings were tried" in written
    assert "1,500,000 parameters" in written
