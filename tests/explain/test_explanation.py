"""What an explanation says of a result, as values and as text."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
from controllable_inference.explain import explain
from controllable_inference.explain.plain import cut, listed, plain, sparkline, width
from made_up_results import drawn, path, result

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "explanation.schema.json").read_text())

SPLIT = result(
    [
        path(0, ["2+2=4", "4+1=5"], [0.8, 0.9], answer="5", rest="</think>5"),
        path(1, ["2+2=5"], [0.21], fate="pruned", detail="0.21 ≤ 0.30"),
        path(2, ["2+2=4", "4+1=6"], [0.8, 0.5], answer="6", rest="</think>6"),
        path(3, ["2+2=4"], [0.8], fate="stopped"),
        path(4, ["2+2=4", "4+1=5"], [0.8, 0.7], answer="5.0", rest="</think>5.0"),
    ],
    {"5": 1.6, "6": 0.4},
)


def test_every_path_tells_its_steps_with_their_scores_and_why_it_ended():
    first, pruned, _, stopped, _ = explain(SPLIT).paths
    assert [(s.text, s.score) for s in first.steps] == [("2+2=4\n", 0.8), ("4+1=5\n", 0.9)]
    assert first.rest == "</think>5"
    assert first.why == "end of text"
    assert pruned.why == "gate: 0.21 ≤ 0.30 after step 1"
    assert stopped.why == "the vote was settled"


def test_the_vote_names_who_voted_for_what_by_value():
    votes = explain(SPLIT).votes
    assert [(b.answer, b.share, b.paths, b.wins) for b in votes] == [
        ("5", 0.8, (0, 4), True),
        ("6", 0.2, (2,), False),
    ]
    assert [p.index for p in explain(SPLIT).paths if p.wins] == [0, 4]
    assert [p.index for p in explain(SPLIT).paths if p.shown] == [0]


def test_without_an_answer_nobody_wins():
    nothing = explain(result([path(0, ["2"], [0.1], fate="stopped"), path(1, [])]))
    assert not nothing.votes
    assert not any(p.wins or p.shown for p in nothing.paths)
    assert "No path came to an answer." in nothing.text()
    assert "no path came to an answer" in nothing.html()


def test_a_cancelled_request_says_so():
    cancelled = dataclasses.replace(result([path(0, ["2"], fate="cancelled")]), finish_reason="cancelled")
    assert "cancelled; there was no vote" in explain(cancelled).text()
    assert "cancelled before there was a vote" in explain(cancelled).html()


def test_steps_of_a_controller_that_gives_no_scores_have_none():
    unscored = explain(result([path(0, ["a", "b"], answer="1")]))
    assert [s.score for s in unscored.paths[0].steps] == [None, None]


@pytest.mark.parametrize("weight", [0.0, 1e-12])
def test_votes_without_weight_share_alike(weight):
    even = explain(
        result([path(0, ["a"], answer="1"), path(1, ["a"], answer="2")], {"1": weight, "2": weight})
    )
    assert [b.share for b in even.votes] == [0.5, 0.5]


def test_the_text_for_a_terminal():
    assert explain(SPLIT, "What is 2 + 2 + 1?").text().splitlines() == [
        "What is 2 + 2 + 1?",
        "",
        "5",
        "(confidence 80%)",
        "",
        "Vote",
        "  ▸ 5  ███████████████████       80%  paths 0, 4",
        "    6  █████                     20%  path 2",
        "",
        "Paths",
        "  ▸  0  kept       5       20 tokens  ▇█  end of text",
        "     1  pruned     –       10 tokens  ▂   gate: 0.21 ≤ 0.30 after step 1",
        "     2  kept       6       20 tokens  ▇▅  end of text",
        "     3  stopped    –       10 tokens  ▇   the vote was settled",
        "  ▸  4  kept       5.0     20 tokens  ▇▆  end of text",
        "",
        "Steps of path 0",
        "    1  0.80  2+2=4",
        "    2  0.90  4+1=5",
        "",
        "80 tokens used, about 40 saved; 5 paths started, 1 pruned, 1 stopped",
        "coefficient 1.25, limited by model; 0.50 s",
    ]


def test_a_terminal_is_given_nothing_that_it_would_obey():
    sly = explain(result([path(0, ["\x1b[2Jgone", "\x9b1m\r\u202eevil"], answer="\x1b]0;x\x07")]), "\x00?")
    for shown in (sly.text(), sly.html(), sly.svg(), json.dumps(sly.json(), ensure_ascii=False)):
        assert not set("\x1b\x9b\x07\r\x00\u202e") & set(shown)


@pytest.mark.parametrize("made", [SPLIT, drawn(1, 16, 12), drawn(2, 1, 0), result([])])
def test_the_document_is_by_the_schema(made):
    document = explain(made, "why?").json()
    jsonschema.validate(document, SCHEMA)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_schema_refuses_what_is_no_explanation():
    document = explain(SPLIT).json()
    document["paths"][0]["fate"] = "lost"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_of_messages_the_last_is_the_question():
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "and now?"}]
    assert explain(SPLIT, chat).question == "and now?"


def test_long_texts_are_cut_by_the_columns_they_take():
    assert cut("one  two\nthree", 20) == "one two three"
    assert cut("one two three", 8) == "one two…"
    assert cut("漢字漢字", 5) == "漢字…"
    assert width("漢字e\u0301") == 5


def test_numbers_are_listed_in_runs():
    assert listed((3, 1, 2, 7)) == "1–3, 7"
    assert listed((1, 2)) == "1, 2"
    assert listed(()) == ""


def test_a_sparkline_is_as_high_as_the_scores():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"


def test_halves_of_characters_become_one_that_can_be_written():
    assert plain("a\ud800b\tc\n").encode() == "a�b\tc\n".encode()
