import pytest
from controllable_inference.core.answer import content, final_answer, normalise
from hypothesis import given
from hypothesis import strategies as st


def extract_answer(text, think_end):
    said = content(text, think_end)
    return final_answer(said) if said else None


def test_the_answer_is_what_follows_the_thinking():
    assert extract_answer("2+3 is\n5\n</think> 5 \n", "</think>") == "5"


def test_the_last_box_is_the_answer_and_may_hold_braces():
    text = r"hm</think>first \boxed{1}, so \boxed{\frac{1}{2}}."
    assert extract_answer(text, "</think>") == r"\frac{1}{2}"
    assert content(text, "</think>") == r"first \boxed{1}, so \boxed{\frac{1}{2}}."


def test_an_unclosed_box_is_plain_text():
    assert extract_answer(r"</think>\boxed{3", "</think>") == r"\boxed{3"


@pytest.mark.parametrize("text", ["still thinking \\boxed{3}", "done</think>  \n", ""])
def test_a_path_that_said_nothing_after_thinking_has_no_answer(text: str):
    assert extract_answer(text, "</think>") is None


def test_without_a_thinking_segment_all_text_is_the_answer():
    assert extract_answer(" Paris. ", None) == "Paris."


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("0.5", "1/2"),
        ("1,200", "1200"),
        ("+3", "3.0"),
        ("$7$", "7."),
        ("2e3", "2000"),
        ("Red  Fox", "red fox"),
    ],
)
def test_equal_answers_meet(a: str, b: str):
    assert normalise(a) == normalise(b)


@pytest.mark.parametrize(
    ("a", "b"), [("1,2", "12"), ("3", "4"), ("1/0", "1"), ("0.1", "0.10000000000000001"), ("ab", "a b")]
)
def test_different_answers_do_not(a: str, b: str):
    assert normalise(a) != normalise(b)


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_keep_all_their_digits(number: int):
    assert normalise(str(number)) == str(number)


@given(st.text())
def test_any_text_can_be_normalised_and_that_changes_nothing_twice(text: str):
    assert normalise(normalise(text)) == normalise(text)


def test_a_number_too_long_to_compute_with_is_compared_as_text():
    digits = "9" * 5000
    assert normalise(digits) == digits
    assert normalise("9" * 3400 + "e999") == "9" * 3400 + "e999"
