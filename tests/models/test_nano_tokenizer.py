import random

import pytest
from controllable_inference.learn.problems import FAMILIES, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from models.nano.recipe.tokenizer import THINK_END, build_tokenizer, prompt_text
from models.nano.recipe.traces import trace

TOKENIZER = build_tokenizer()


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_as_it_was(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == text


def test_questions_and_traces_come_back_and_digits_are_single_tokens():
    rng = random.Random(0)
    for family in FAMILIES:
        for problem in draw(family, 2, seed=1, count=10):
            text = prompt_text(problem.question) + "".join(f"{line.text}\n" for line in trace(problem, rng))
            assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text
    assert len(TOKENIZER.encode("123+45=168", add_special_tokens=False)) == 10


def test_the_fixed_sentences_of_a_question_are_one_token_each():
    question = "State the final answer to the following arithmetic problem: 4 - 1 ="
    assert len(TOKENIZER.encode(question, add_special_tokens=False)) == 1 + len("4 - 1 =")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    TOKENIZER.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_a_saved_tokenizer_loads_as_any_other(saved):
    text = "Solve the following multiplication: 57 * 87. é≤\n<think>\n57*7 ~993=399\n</think>4959<eos>"
    assert saved.encode(text, add_special_tokens=False) == TOKENIZER.encode(text, add_special_tokens=False)
    assert saved.decode(saved.encode(text, add_special_tokens=False)) == text
    assert (saved.pad_token_id, saved.bos_token_id, saved.eos_token_id) == (0, 1, 2)


def test_the_chat_template_renders_what_training_used(saved):
    for thinking in (True, False):
        rendered = saved.apply_chat_template(
            [{"role": "system", "content": "Be kind."}, {"role": "user", "content": " 1 + 1 =\n"}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
        assert rendered == prompt_text("1 + 1 =", thinking)


def test_thinking_is_visible_text_even_where_special_tokens_are_skipped(saved):
    ids = saved.encode(f"1+1=2\n{THINK_END}2<eos>", add_special_tokens=False)
    assert saved.decode(ids, skip_special_tokens=True) == f"1+1=2\n{THINK_END}2"
