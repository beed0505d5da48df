from controllable_inference.core.views import PathView
from controllable_inference.core.vote import is_settled, one_each, tally, vote
from hypothesis import given
from hypothesis import strategies as st


def finished(index: int, answer: str | None, score: float | None = None) -> PathView:
    return PathView(index, "kept", 9, 3, score, answer=answer, key=answer)


def by_score(path: PathView) -> float:
    return path.score or 0.0


def test_the_majority_wins_with_its_share_as_confidence():
    answer = vote([finished(0, "4"), finished(1, "5"), finished(2, "5"), finished(3, None)], one_each)
    assert (answer.winner, answer.confidence) == (1, 2 / 3)
    assert answer.weights == {"4": 1.0, "5": 2.0}


def test_scores_can_outweigh_numbers():
    paths = [finished(0, "4", 0.9), finished(1, "5", 0.4), finished(2, "5", 0.3)]
    assert vote(paths, by_score).winner == 0


def test_the_best_scored_path_speaks_for_its_answer():
    assert vote([finished(0, "5", 0.2), finished(1, "5", 0.8)], one_each).winner == 1


def test_where_no_answers_agree_the_best_scored_one_is_given():
    assert vote([finished(0, "a", 0.2), finished(1, "b", 0.7), finished(2, "c", 0.4)], one_each).winner == 1


def test_pruned_and_stopped_paths_have_no_vote():
    gone = [PathView(i, "pruned", 3, 1, 0.1, answer="5", key="5") for i in range(1, 4)]
    assert tally([finished(0, "4"), *gone], one_each) == {"4": 1.0}


def test_without_answers_there_is_no_winner():
    assert vote([finished(0, None)], one_each).winner is None


def test_answers_without_any_weight_still_give_a_winner():
    answer = vote([finished(0, "1", 0.0), finished(1, "2", 0.0)], by_score)
    assert answer.winner == 0
    assert answer.confidence == 0.5


def test_a_lead_larger_than_what_runs_is_settled_and_a_possible_tie_is_not():
    assert is_settled({"5": 4.0, "4": 1.0}, running=2)
    assert not is_settled({"5": 4.0, "4": 1.0}, running=3)
    assert not is_settled({}, running=1)


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abcd"), max_size=6))
def test_what_is_settled_never_changes_whatever_comes(so_far: list[str], coming: list[str]):
    first = [finished(i, a) for i, a in enumerate(so_far)]
    if so_far and is_settled(tally(first, one_each), len(coming)):
        rest = [finished(len(so_far) + i, a) for i, a in enumerate(coming)]
        before, after = vote(first, one_each), vote([*first, *rest], one_each)
        assert first[before.winner or 0].key == [*first, *rest][after.winner or 0].key
