"""What a result tells of a path's steps: texts, scores, and why it ended."""

import pytest
from controllable_inference import PathResult, SamplingParams
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.controller import GatedController, confidence_rank
from controllable_inference.engines.detokenizer import Detokenizer


def gated(**options):
    return GatedController(BudgetRule(6, 60, 6), confidence_rank, min_steps=1, **options)


@pytest.mark.parametrize("seed", range(4))
def test_steps_end_at_their_delimiters_and_with_the_rest_are_the_text(stepped, seed):
    engine = stepped(gated(threshold=0.5))
    request = engine.submit("1+2=", SamplingParams(seed=seed))
    engine.run()
    paths = request.result.paths
    assert any(path.steps for path in paths)
    for path in paths:
        assert "".join(path.step_texts) + path.rest == path.text
        assert len(path.step_texts) == len(path.scores) == path.steps
        assert all(text.endswith("\n") and text.count("\n") == 1 for text in path.step_texts)
        assert path.score == (path.scores[-1] if path.scores else None)


def test_a_pruned_path_tells_its_score_and_the_threshold(stepped):
    engine = stepped(gated(threshold=0.5))
    requests = [engine.submit("1+2=", SamplingParams(seed=seed)) for seed in range(4)]
    engine.run()
    pruned = [p for r in requests for p in r.result.paths if p.fate == "pruned"]
    assert pruned
    for path in pruned:
        assert path.why == f"gate: {path.score:.2f} ≤ 0.50 after step {path.steps}"


def test_votes_are_told_by_answer(stepped):
    engine = stepped(gated(threshold=None))
    requests = [engine.submit("1+2=", SamplingParams(seed=seed)) for seed in range(8)]
    engine.run()
    voted = [r.result for r in requests if r.result.votes]
    assert voted
    for result in voted:
        assert result.answer in result.votes
        assert result.confidence == pytest.approx(result.votes[result.answer] / sum(result.votes.values()))


@pytest.mark.parametrize(
    ("fate", "reason", "detail", "score", "why"),
    [
        ("kept", "eos", "", 0.9, "end of text"),
        ("kept", "length", "", None, "token cap"),
        ("stopped", "decided", "", 0.5, "the vote was settled"),
        ("stopped", "enough_agree", "P = 0.97", 0.5, "enough agree: P = 0.97"),
        ("pruned", "gate", "0.21 ≤ 0.30", 0.21, "gate: 0.21 ≤ 0.30 after step 4"),
        ("pruned", "memory", "", 0.4, "memory ran out: score 0.40 after step 4"),
        ("pruned", "random", "", None, "random after step 4"),
    ],
)
def test_the_reason_in_words(fate, reason, detail, score, why):
    path = PathResult(0, fate, reason, 9, None, score, "", steps=4, detail=detail)
    assert path.why == why


def test_ends_of_parts_are_found_where_a_token_alone_reads_otherwise():
    """A decoder of SentencePiece's kind drops the space before a first token."""

    class Tokenizer:
        words = ("▁so", "▁it", "▁is", "\n")

        def decode(self, ids, skip_special_tokens):
            return "".join(self.words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    detokenizer = Detokenizer(Tokenizer())
    context, tokens = [0], [1, 3, 2, 3, 1]
    text = detokenizer.after(context, tokens)
    assert text == " it\n is\n it"
    assert [text[:end] for end in detokenizer.ends(context, tokens, [2, 4])] == [" it\n", " it\n is\n"]
