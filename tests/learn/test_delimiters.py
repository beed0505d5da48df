"""What ends a step is the coarsest mark that leaves enough of them."""

import pytest
from controllable_inference.learn.delimiters import choose, described
from controllable_inference.learn.subject import Subject


@pytest.mark.parametrize(
    ("texts", "delimiter"),
    [
        (["a\n\nb\n\nc\n\nd\n\ne"] * 3, "\n\n"),
        (["a\nb\nc\nd\ne"] * 3, "\n"),
        (["a\n\nb\nc\nd\ne"] * 3, "\n"),  # one paragraph is too few
        (["First a. Then b. Then c. Then d. So e."] * 3, ". "),
        (["nothing to go by"], "\n"),
        (["a\n\nb\n\nc\n\nd\n\ne", "a", "b\n"], "\n"),  # most have none
        ([], "\n"),
    ],
)
def test_of_the_marks_that_most_texts_have_four_of_the_coarsest_is_taken(texts, delimiter):
    assert choose(texts) == delimiter


def test_a_model_is_described_by_what_it_writes_unless_somebody_did(talker_checkpoint):
    """The talker writes lines of twos."""
    subject = Subject.load(talker_checkpoint, talker_checkpoint)
    assert subject.source is None
    blind = subject.with_delimiters(["§"])
    found = described(blind, ["1+2=", "2+2=", "3+1="], token_cap=60, temperature=1.0)
    assert found.config.step_delimiters == ["\n"]
