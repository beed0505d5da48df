"""The page and the picture: self-contained, safe, and usable without a pointer."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from controllable_inference.explain import explain
from controllable_inference.explain.tree import ends_below, tree_of
from made_up_results import drawn, path, result

HOSTILE = "</title></style></svg><script>alert(1)</script><img src=x onerror='alert(1)'>\"&amp;{x}"
EVIL = explain(
    result(
        [
            path(0, [HOSTILE, "b"], [0.9, 0.8], answer=HOSTILE, rest=HOSTILE),
            path(1, [HOSTILE], [0.1], fate="pruned", detail=HOSTILE),
        ]
    ),
    HOSTILE,
)
NORMAL = explain(drawn(5, 16, 12), "What is 2 + 2?")
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a browser makes of it, as far as it matters here."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.open, self.texts = [], [], [], [], []
        self.attributes = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.links += [value for name, value in attrs if name in ("href", "src")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("explanation", [NORMAL, EVIL], ids=["normal", "hostile"])
def test_it_needs_no_other_file_and_runs_no_script(explanation):
    page = Page(explanation.html())
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(link.startswith("#") for link in page.links)
    styles = "".join(re.findall(r"<style>(.*?)</style>", explanation.html(), re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_what_a_model_wrote_is_shown_and_never_obeyed():
    page = Page(EVIL.html())
    assert page.tags.count("style") == page.tags.count("main") == 1
    assert HOSTILE in "".join(page.texts)
    ElementTree.fromstring(EVIL.svg())


def test_everything_can_be_reached_by_keyboard():
    page = Page(NORMAL.html())
    ends = ends_below(tree_of(NORMAL.paths))
    assert page.links == [f"#path-{end.first.index}" for end in ends]
    assert set(page.links) <= {f"#{id_}" for id_ in page.ids}
    assert page.tags.count("details") == page.tags.count("summary") == len(NORMAL.paths)
    assert ("tabindex", "0") in page.attributes


def test_ids_are_there_once():
    ids = Page(NORMAL.html()).ids
    assert len(ids) == len(set(ids)) == len(NORMAL.paths)


def test_pointing_at_an_end_shows_its_way_and_fades_the_rest():
    text = NORMAL.html()
    for number, end in enumerate(ends_below(tree_of(NORMAL.paths))):
        assert f".end-{number}:is(:hover, :focus-within)" in text
        boxes = re.findall(rf'<g class="box [^"]*\bvia-{number}\b[^"]*"', text)
        assert len(boxes) == len(end.first.steps) + 2  # the root and the end itself


def test_fates_look_different():
    told = explain(
        result(
            [
                path(0, ["a", "b"], [0.9, 0.9], answer="1"),
                path(1, ["a", "c"], [0.9, 0.1], fate="pruned", detail="0.10 ≤ 0.30"),
                path(2, ["a", "d"], [0.9, 0.6], fate="stopped"),
                path(3, ["a", "e"], [0.9, 0.6], answer="2"),
            ],
            {"1": 0.9, "2": 0.6},
        )
    )
    kinds = dict(re.findall(r'<g class="box end end-(\d) (\w+) via', told.svg()))
    assert kinds == {"0": "wins", "1": "pruned", "2": "stopped", "3": "kept"}
    assert "gate: 0.10 ≤ 0.30 after step 2" in told.svg()
    (shared,) = re.findall(r'<g class="box node (\w+) via-0 via-1 via-2 via-3"', told.svg())
    assert shared == "wins"


def test_a_step_that_was_cut_is_whole_in_its_tooltip():
    long = "a very long step " * 10
    svg = explain(result([path(0, [long], [0.5], answer="1")])).svg()
    titles = [e.text for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert any(long.strip() in title for title in titles)
    shown = re.findall(r'class="step"[^>]*>([^<]*)<', svg)
    assert shown == ["a very long step a v…"]


def test_the_picture_is_a_file_of_its_own_for_light_and_dark():
    svg = NORMAL.svg()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in svg
    assert "href" not in svg


def test_a_result_without_paths_has_a_page_too():
    empty = explain(result([]))
    Page(empty.html())
    ElementTree.fromstring(empty.svg())
    assert empty.text()
