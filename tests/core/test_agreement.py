import pytest
from controllable_inference.core.agreement import AGREEMENT, Agreement, canonical, conclusions
from hypothesis import given, settings
from hypothesis import strategies as st


def measured(agreement: Agreement, path: int, others: int) -> dict[str, float]:
    return dict(zip(AGREEMENT, agreement.measure(path, others), strict=True))


def written(*paths: list[str]) -> Agreement:
    """Paths 0, 1, ... that have written these steps, one step of each at a time."""
    agreement = Agreement()
    for number in range(max(map(len, paths))):
        for path, steps in enumerate(paths):
            if number < len(steps):
                agreement.enter(path, steps[number])
    return agreement


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("  12+3 =  15\n", "12+3 = 15"),
        ("check: 3*4=12\n", "3*4=12"),
        ("Wait: No\n", "no"),
        ("again: check: 2\n", "check: 2"),
        ("two words: 3", "two words: 3"),
        ("12: 30", "12: 30"),
        ("check:", "check:"),
        ("\n\n", ""),
    ],
)
def test_steps_are_compared_without_case_blanks_and_a_leading_marker(step, text):
    assert canonical(step) == text


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("7+68 ~57=75", {"75"}),
        ("91-1*70=91-70=21", {"21"}),
        ("45/2=22 r1 n1", {"22 r1 n1"}),
        ("so 74", {"74"}),
        ("so olleh", {"olleh"}),
        ("so -1,234.50", {"-2469/2"}),
        ("so 2 × 2 × 3", {"2 × 2 × 3", "3"}),
        ("apple 1 n5", {"5"}),
        ("that leaves 5-3", {"3"}),
        ("therefore 3/4 of it", {"3/4"}),
        ("ol", {"ol"}),
        ("x=", {"x="}),
        ("", set()),
    ],
)
def test_a_step_concludes_what_follows_its_equals_sign_or_so_or_its_last_number(text, keys):
    assert conclusions(text) == keys


def test_agreement_at_a_step_is_the_share_of_the_others_there_that_wrote_the_same():
    agreement = written(["1+2=3\n"], ["check: 1+2=3\n"], ["1+2=4\n"], [])
    assert measured(agreement, 0, others=3) == {
        "step_agreement": 1 / 2,
        "path_agreement": 1 / 2,
        "answer_agreement": 0.5,
        "siblings_seen": 2 / 3,
    }
    assert measured(agreement, 2, others=3)["step_agreement"] == 0


def test_who_comes_first_or_is_alone_is_neither_right_nor_wrong():
    agreement = written(["1+2=3"], ["1+2=3", "3+4=7"])
    found = measured(agreement, 1, others=1)
    assert found["step_agreement"] == 0.5
    assert found["path_agreement"] == (1.0 + 0.5) / 2
    assert found["siblings_seen"] == 0
    assert list(written(["1"]).measure(0, others=0)) == [0.5, 0.5, 0.5, 0.0]


def test_the_agreement_of_a_path_counts_siblings_that_came_later_to_its_earlier_steps():
    agreement = written(["a", "b"])
    assert measured(agreement, 0, others=1)["path_agreement"] == 0.5
    agreement.enter(1, "a")
    assert measured(agreement, 0, others=1)["path_agreement"] == (1.0 + 0.5) / 2


def test_an_answer_agrees_with_every_path_that_has_come_upon_it():
    agreement = written(["7+1=8", "so 8"], ["7+1=9"], ["8.0", "2"])
    for answer in ("8", "8", "9", "10"):
        agreement.finish(answer)
    assert measured(agreement, 0, others=6)["answer_agreement"] == 2 / 4
    assert measured(agreement, 1, others=6)["answer_agreement"] == 1 / 4
    assert measured(agreement, 2, others=6)["answer_agreement"] == 2 / 4  # 8.0, one step ago


steps = st.lists(st.sampled_from(["1+1=2", "check: 1+1=2", "so 2", "so 3", "ok"]), min_size=1, max_size=5)


@settings(deadline=None)
@given(st.lists(steps, min_size=1, max_size=5), st.lists(st.sampled_from(["2", "3"]), max_size=3))
def test_shares_lie_between_none_and_all_and_follow_their_definition(paths, answers):
    agreement = written(*paths)
    for answer in answers:
        agreement.finish(answer)
    texts = [[canonical(step) for step in path] for path in paths]
    for number, own in enumerate(texts):
        others = [path for at, path in enumerate(texts) if at != number]
        shares = []
        for at, text in enumerate(own):
            there = [path[at] for path in others if len(path) > at]
            shares.append(sum(t == text for t in there) / len(there) if there else 0.5)
        concluded = frozenset().union(*map(conclusions, own))
        agreeing = [answer in concluded for answer in answers]
        expected = (
            shares[-1],
            sum(shares) / len(shares),
            sum(agreeing) / len(agreeing) if agreeing else 0.5,
            sum(len(path) >= len(own) for path in others) / len(others) if others else 0.0,
        )
        assert agreement.measure(number, len(others)) == pytest.approx(expected)
