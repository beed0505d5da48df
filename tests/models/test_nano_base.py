import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from controllable_inference.learn.problems import Split, draw, split_of

from models.nano.recipe import base, corpus
from models.nano.recipe.corpus import IGNORED, build, encode, micro_batches, padded
from models.nano.recipe.tokenizer import BOS, EOS, THINK, THINK_END, build_tokenizer
from models.nano.recipe.traces import WAIT

TOKENIZER = build_tokenizer()
TINY = base.BaseRecipe(
    hidden_size=32,
    layers=2,
    heads=2,
    intermediate_size=64,
    steps=20,
    batch=4,
    warmup_steps=2,
    decay_steps=10,
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def question_of(example):
    return TOKENIZER.decode(example.ids).split(f"\n{THINK}\n")[0].removeprefix(BOS)


def test_only_questions_of_the_base_split_are_learned_from():
    examples = build(300, seed=5, tokenizer=TOKENIZER)
    assert len(examples) == pytest.approx(300, abs=27)
    assert {split_of(question_of(example)) for example in examples} == {Split.BASE}


def test_prompts_and_deliberate_mistakes_are_context_but_no_target(monkeypatch):
    monkeypatch.setattr(corpus, "FAST_SHARE", 0.0)
    (problem,) = draw("chain_sum", 1, seed=2, count=1)
    examples = (encode(problem, TOKENIZER, random.Random(seed)) for seed in range(200))
    example = next(e for e in examples if WAIT in TOKENIZER.decode(e.ids))
    learned = TOKENIZER.decode([label for label in example.labels if label != IGNORED])
    whole = TOKENIZER.decode(example.ids).split(f"{THINK}\n")[1]
    mistake = whole[: whole.index(WAIT)].splitlines()[-1] + "\n"
    assert learned == whole.replace(mistake, "", 1)
    assert learned.endswith(f"{THINK_END}{problem.answer}{EOS}")


def test_fast_examples_learn_the_answer_only(monkeypatch):
    monkeypatch.setattr(corpus, "FAST_SHARE", 1.0)
    (problem,) = draw("gcd", 0, seed=2, count=1)
    example = encode(problem, TOKENIZER, random.Random(0))
    learned = [label for label in example.labels if label != IGNORED]
    assert TOKENIZER.decode(learned) == problem.answer + EOS
    assert f"{THINK}\n{THINK_END}" in TOKENIZER.decode(example.ids)


def test_micro_batches_lose_nothing_and_padding_is_ignored():
    examples = build(60, seed=5, tokenizer=TOKENIZER)
    chunks = list(micro_batches(examples))
    assert sum(map(len, chunks)) == len(examples)
    ids, labels = padded(chunks[0], pad_id=0)
    assert ids.shape == labels.shape
    assert (labels[ids == 0] == IGNORED).all()


def test_the_learning_rate_warms_up_stays_and_falls_to_nothing():
    recipe = base.BaseRecipe(steps=1000, warmup_steps=50, decay_steps=500)
    rates = [base.learning_rate(step, recipe) for step in range(1000)]
    assert rates[0] < 0.02
    assert rates[100] == rates[500] == 1.0
    assert rates[750] == pytest.approx(0.5)
    assert rates[999] == pytest.approx(0.002)


def run(checkpoint: Path, recipe=TINY, stop_at=None):
    losses = []

    def report(step, loss, speed):
        losses.append(loss)
        if stop_at is not None and step >= stop_at:
            raise KeyboardInterrupt

    model, _ = base.train(
        recipe, TOKENIZER, checkpoint, report, checkpoint_every=5, report_every=5, fuse=False
    )
    return model, losses


def test_training_learns_and_an_interrupted_run_ends_with_the_same_weights(tmp_path):
    straight, _ = run(tmp_path / "straight.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken.pt", stop_at=10)
    resumed, _ = run(tmp_path / "broken.pt")
    for left, right in zip(straight.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(left, right)
    fresh = base.new_model(TINY, TOKENIZER)
    ids, labels = padded(build(60, seed=9, tokenizer=TOKENIZER), pad_id=0)
    with torch.no_grad():
        assert base._loss(straight, straight.model, ids, labels) < 0.9 * base._loss(
            fresh, fresh.model, ids, labels
        )


def test_a_checkpoint_of_another_recipe_is_not_gone_on_with(tmp_path):
    short = replace(TINY, steps=2)
    run(tmp_path / "c.pt", short)
    with pytest.raises(ValueError, match="made by another recipe"):
        run(tmp_path / "c.pt")


@pytest.fixture
def fresh():
    return base.new_model(TINY, TOKENIZER).eval()


@pytest.mark.slow
def test_fused_layers_compute_what_plain_ones_do(fresh):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    ids, labels = padded(build(60, seed=9, tokenizer=TOKENIZER)[:4], pad_id=0)
    fused = base.compiled(fresh)
    assert fused is not fresh.model
    with torch.no_grad():
        torch.testing.assert_close(
            base._loss(fresh, fused, ids, labels), base._loss(fresh, fresh.model, ids, labels)
        )


def test_without_a_compiler_layers_stay_as_they_are(fresh, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert base.compiled(fresh) is fresh.model


def test_what_can_not_be_compiled_is_told_and_stays_as_it_is(fresh, monkeypatch, caplog):
    def no_headers(*args, **kwargs):
        raise RuntimeError("Python.h: No such file")

    monkeypatch.setattr(shutil, "which", lambda program: "/usr/bin/g++")
    monkeypatch.setattr(torch, "compile", lambda layers, dynamic: no_headers)
    assert base.compiled(fresh) is fresh.model
    assert "training without torch.compile, which failed: Python.h" in caplog.text


def test_training_takes_the_fused_layers_unless_told_not_to(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(base, "compiled", lambda model: asked.append(model) or model.model)
    short = replace(TINY, steps=1)
    model, _ = base.train(short, TOKENIZER, tmp_path / "c.pt", lambda *told: None)
    assert asked == [model]
    base.train(short, TOKENIZER, tmp_path / "plain.pt", lambda *told: None, fuse=False)
    assert asked == [model]
