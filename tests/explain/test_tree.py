"""Paths as a tree, and where its boxes go."""

from itertools import combinations

from controllable_inference.explain import explain
from controllable_inference.explain.layout import CHARACTERS, END_CHARACTERS, MARGIN, layout
from controllable_inference.explain.plain import width
from controllable_inference.explain.tree import End, Node, ends_below, fold, tree_of
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_results import drawn, path, result


def tree(*paths):
    return tree_of(explain(result(list(paths))).paths)


def shape(node):
    """(text, [children]) of a step, "0 4 kept" of an end."""
    if isinstance(node, End):
        return " ".join([*(str(p.index) for p in node.paths), node.first.fate])
    return (node.text, [shape(child) for child in node.children])


def test_what_paths_begin_with_in_common_is_there_once_and_they_branch_where_they_first_differ():
    root = tree(
        path(0, ["a", "b", "c"], answer="1"),
        path(1, ["a", "b", "d"], fate="stopped"),
        path(2, ["a", "x"], fate="pruned"),
        path(3, ["a", " b ", "c"], answer="1"),
    )
    assert shape(root) == (
        "",
        [("a", [("b", [("c", ["0 3 kept"]), ("d", ["1 stopped"])]), ("x", ["2 pruned"])])],
    )


def test_a_path_that_ends_where_others_go_on_ends_there():
    root = tree(path(0, ["a", "b"], answer="1"), path(1, ["a"], fate="pruned"), path(2, [], fate="stopped"))
    assert shape(root) == ("", [("a", [("b", ["0 kept"]), "1 pruned"]), "2 stopped"])


def test_ends_with_different_answers_are_told_apart():
    root = tree(path(0, ["a"], answer="1"), path(1, ["a"], answer="2"), path(2, ["a"], answer="1"))
    assert shape(root) == ("", [("a", ["0 2 kept", "1 kept"])])


def test_a_shared_step_has_the_mean_of_its_paths_scores():
    root = tree(
        path(0, ["a"], [0.2], answer="1"), path(1, ["a"], [0.6], answer="1"), path(2, ["a"], answer="1")
    )
    assert root.children[0].score == 0.4
    assert [p.index for p in root.children[0].paths] == [0, 1, 2]
    assert root.score is None


def test_the_middle_of_a_long_run_is_folded_into_one_box():
    long = [f"s{n}" for n in range(20)]
    root = fold(tree(path(0, long, [n / 20 for n in range(20)], answer="1")), longest=6)
    found, node = [], root.children[0]
    while isinstance(node, Node):
        found.append(node)
        node = node.children[0]
    assert [node.text for node in found] == ["s0", "… 17 steps …", "s18", "s19"]
    assert [text for text, _ in found[1].folded] == [f"s{n}" for n in range(1, 18)]
    assert found[1].score == 17 / 20
    assert shape(node) == "0 kept"


def test_runs_are_folded_between_branches_and_short_ones_are_left():
    common = [f"c{n}" for n in range(10)]
    root = fold(
        tree(
            path(0, [*common, "x", *(f"x{n}" for n in range(10))], answer="1"),
            path(1, [*common, "y", "y1"], answer="1"),
            path(2, ["z"], fate="pruned"),
        ),
        longest=6,
    )
    assert shape(root) == (
        "",
        [
            (
                "c0",
                [
                    (
                        "c1",
                        [
                            (
                                "… 6 steps …",
                                [
                                    (
                                        "c8",
                                        [
                                            (
                                                "c9",
                                                [
                                                    (
                                                        "x",
                                                        [
                                                            (
                                                                "x0",
                                                                [
                                                                    (
                                                                        "… 7 steps …",
                                                                        [("x8", [("x9", ["0 kept"])])],
                                                                    )
                                                                ],
                                                            )
                                                        ],
                                                    ),
                                                    ("y", [("y1", ["1 kept"])]),
                                                ],
                                            )
                                        ],
                                    )
                                ],
                            )
                        ],
                    )
                ],
            ),
            ("z", ["2 pruned"]),
        ],
    )


def check(root):
    """What must hold of every picture."""
    place = layout(root)
    for box in place.boxes:
        assert box.x >= MARGIN
        assert box.y >= MARGIN
        assert box.x + box.width <= place.width
        assert box.y + box.height <= place.height
        limit = END_CHARACTERS if isinstance(box.node, End) else CHARACTERS
        assert all(0 < width(line) <= limit for line in box.lines)
        if box.parent is not None:
            parent = place.boxes[box.parent]
            assert parent.x + parent.width < box.x
            assert box.node in parent.node.children
    for a, b in combinations(place.boxes, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart, (a, b)
    assert {id(end) for end in ends_below(root)} == {
        id(box.node) for box in place.boxes if isinstance(box.node, End)
    }
    return place


def test_16_paths_of_12_steps_do_not_overlap():
    place = check(tree_of(explain(drawn(0, 16, 12)).paths))
    assert len(place.boxes) > 90


def test_long_texts_do_not_make_boxes_overlap():
    check(tree_of(explain(drawn(0, 16, 12, text="漢字" * 40 + " step {} says {}")).paths))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), paths=st.integers(1, 24), steps=st.integers(0, 14), words=st.integers(1, 4)
)
def test_no_tree_makes_boxes_overlap(seed, paths, steps, words):
    check(tree_of(explain(drawn(seed, paths, steps, words)).paths))
    check(fold(tree_of(explain(drawn(seed, paths, steps, words)).paths), longest=5))


def test_a_winning_way_is_no_wider_than_its_box_says():
    """Where nothing is shared, each path has a row of its own."""
    place = check(tree(*(path(n, [f"only {n}"], answer=str(n)) for n in range(5))))
    rows = {box.y for box in place.boxes if isinstance(box.node, End)}
    assert len(rows) == 5


def test_thousands_of_steps_are_no_trouble():
    long = explain(result([path(0, [f"s{n}" for n in range(3000)], [0.5] * 3000, answer="1")]))
    assert "… 2997 steps …" in long.html()
