"""When two answers are the same, kind by kind; and what happens when an equality fails."""

import time

import pytest
from controllable_inference.core import bounded, equality
from controllable_inference.core.equality import AnswerClasses, equality_of
from controllable_inference.errors import ControlConfigError

EQUAL_IN_MATHS = [
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", r"\dfrac12"),
    (r"\frac{1}{2}", "1/2"),
    (r"\tfrac{3}{4}", "0.75"),
    (r"-\frac{1}{2}", "-0.5"),
    (r"\frac{2}{4}", r"\frac{1}{2}"),
    ("x=5", "5"),
    ("x = 5", "5"),
    (r"y=\frac{3}{2}", "1.5"),
    (r"5\text{ cm}", "5"),
    ("5 apples", "5"),
    (r"90^\circ", "90"),
    (r"12\text{ m}^2", "12"),
    (r"50\%", "0.5"),
    ("50%", r"50\%"),
    ("(1,2)", "(1, 2)"),
    (r"\left(1,2\right)", "(1,2)"),
    (r"(3,\frac{1}{2})", "(3, 0.5)"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"\pi/2", r"\frac{\pi}{2}"),
    ("2^{10}", "1024"),
    ("2^10", "1024"),
    ("x^2+2x+1", "(x+1)^2"),
    ("2x+3", "3+2x"),
    ("10{,}000", "10000"),
    ("10,000", "10000"),
    (r"1\,000", "1000"),
    ("$5$", "5"),
    (r"\(5\)", "5"),
    (r"\[5\]", "5"),
    ("5.", "5"),
    ("5.0", "5"),
    ("+5", "5"),
    ("−5", "-5"),
    ("1.5e3", "1500"),
    (r"1.5\times 10^3", "1500"),
    (r"3\cdot 4", "12"),
    (r"\text{Paris}", "Paris"),
    ("Paris", "paris"),
    ("[0,1)", "[0, 1)"),
    (r"\left[0,1\right)", "[0,1)"),
    ("x<3", "x < 3"),
    (r"\$5", "5"),
    (r"2\pi r", r"\pi \cdot 2r"),
    (r"\sin(\pi/6)", r"\frac12"),
    (r"\log_2 8", "3"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ("7/3", r"2\frac{1}{3}"),
    (r"\mathrm{(A)}", "A"),
]
DIFFERENT_IN_MATHS = [
    ("3", "4"),
    ("1/3", "0.33"),
    ("(1,2)", "(2,1)"),
    ("x+1", "x-1"),
    (r"\sqrt{2}", "1.41"),
    ("[0,1)", "[0,1]"),
    ("x<3", "x>3"),
    (r"\{1,2\}", r"\{1,3\}"),
    ("5", "-5"),
    ("Paris", "London"),
    ("2^{10}", "210"),
    ("A", "B"),
    (r"\pi", "3.14"),
    ("12", "1,2"),
    ("10000", "1000"),
]


@pytest.fixture(scope="module", autouse=True)
def _patient(request):
    """The first comparison of a kind of expression imports parts of the computer algebra."""
    patch = pytest.MonkeyPatch()
    patch.setattr(bounded, "LIMIT", 20.0)
    yield
    patch.undo()


def same(name, one, other):
    classes = AnswerClasses(name)
    return classes.key(one) == classes.key(other)


@pytest.mark.parametrize(("one", "other"), EQUAL_IN_MATHS)
def test_equal_in_mathematics(one, other):
    assert same("math", one, other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT_IN_MATHS)
def test_different_in_mathematics(one, other):
    assert not same("math", one, other)


@pytest.mark.parametrize(
    ("name", "one", "other", "expected"),
    [
        ("exact", "5", " 5 ", True),
        ("exact", "5", "5.0", False),
        ("number", "5", "5.0", True),
        ("number", r"\frac12", "0.5", False),
        ("choice", "b", "(B)", True),
        ("choice", "A", "B", False),
        ("code", "x=1", "x = 1  # one", True),
        ("code", "x=1", "x=2", False),
        ("code", "SELECT 1", "SELECT 1 ", True),
    ],
)
def test_the_other_kinds(name, one, other, expected):
    assert same(name, one, other) == expected


def test_of_answers_that_can_not_be_compared_none_has_a_key():
    assert AnswerClasses("none").key("5") is None


@pytest.mark.parametrize(
    ("name", "said", "answer"),
    [
        ("math", r"so \boxed{4} … \boxed{5", "4"),
        ("math", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("math", r"\boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("number", "Adding up, the answer is 12.\nI hope this helps.", "12"),
        ("number", "**Final Answer:** 12", "12"),
        ("number", "Final Answer\n12", "12"),
        ("choice", "The answer is (C), since", "C"),
        ("code", "Here:\n```python\nx = 1\n```\nDone.", "x = 1"),
        ("code", "x = 1", "x = 1"),
        ("none", "Dear Sir", "Dear Sir"),
    ],
)
def test_what_is_taken_for_the_answer(name, said, answer):
    assert AnswerClasses(name).extract(said) == answer


def test_a_class_has_the_key_of_its_first_answer():
    classes = AnswerClasses("math")
    keys = [classes.key(answer) for answer in ("0.5", "x=5", r"\frac{1}{2}", "5", "1/2")]
    assert keys == ["1/2", "x=5", "1/2", "x=5", "1/2"]


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are():
    with pytest.raises(ControlConfigError, match=r"no 'maths'; known are exact, number, math"):
        equality_of("maths")


def test_hostile_text_is_given_up_in_time_and_compared_as_text(monkeypatch):
    assert same("math", "x+1", "1+x")  # the process is up
    monkeypatch.setattr(bounded, "LIMIT", 0.5)
    classes = AnswerClasses("math")
    began = time.monotonic()
    keys = [classes.key(answer) for answer in ("5", "9^{9^{9^{9}}}", "6", "9^{9^{9^{9}}}")]
    assert time.monotonic() - began < 5
    assert len(set(keys)) == 3
    assert classes.failures == 1
    assert same("math", "y+1", "1+y")  # another process answers what is asked next


class Raising(equality.Exact):
    def extract(self, said):
        raise RuntimeError("no")

    def key(self, answer):
        raise RuntimeError("no")


def test_an_equality_that_raises_leaves_the_text_itself(monkeypatch):
    monkeypatch.setitem(equality._KNOWN, "raising", Raising)
    classes = AnswerClasses("raising")
    assert classes.extract("the answer is 5") == "5"
    assert classes.key("5") == "5"
    assert classes.failures == 2


def test_a_comparison_that_can_not_be_made_is_counted_once_for_an_answer():
    asked = []
    classes = AnswerClasses("math", lambda name, one, other: asked.append((one, other)))
    assert [classes.key(a) for a in ("a", "b", "c", "b")] == ["a", "b", "c", "b"]
    assert asked == [("a", "b"), ("a", "c")]
    assert classes.failures == 2
