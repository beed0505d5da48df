from xml.etree import ElementTree

import pytest
from controllable_inference.bench import plots
from controllable_inference.bench.page import ALT
from made_up import figures


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, plots.draw(figures(), folder)


def test_every_picture_that_the_page_shows_is_drawn_as_svg_and_png(drawn):
    _, files = drawn
    assert {file.name for file in files} == {f"{name}.{suffix}" for name in ALT for suffix in ("svg", "png")}
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
        else:
            assert file.read_bytes().startswith(b"\x89PNG")


def test_the_same_figures_give_the_same_files(drawn, tmp_path):
    folder, _ = drawn
    plots.draw(figures(), tmp_path)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (folder / file.name).read_bytes()


def test_what_was_not_measured_is_not_drawn(tmp_path):
    files = plots.draw(figures(gate=None, thirds=[]), tmp_path)
    assert {file.stem for file in files} == {"frontier_tokens", "frontier_flops", "frontier_chain"}


def test_sequential_methods_have_hollow_markers():
    picture = plots.frontier(figures(), "tokens")
    hollow = {
        str(container.get_label()): container.lines[0].get_markerfacecolor() == "none"
        for container in picture.axes[0].containers
    }
    assert hollow[plots.NAMES["AC"]]
    assert not hollow[plots.NAMES["SC"]]
    plots.plt.close(picture)
