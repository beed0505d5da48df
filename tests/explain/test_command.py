"""`controllable-inference explain`: from a question to a file."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
from controllable_inference.cli import app
from controllable_inference.errors import RequestError
from tiny_engines import make_model, make_tokenizer, save_checkpoint
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_checkpoint(
        tmp_path_factory.mktemp("model"), make_model(max_position_embeddings=64), make_tokenizer()
    )


def run(*arguments):
    done = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_text_is_printed(folder):
    text = run("1+2=", "--model", folder, "--paths", 4, "--max-paths", 3, "--budget", "low", "--seed", 1)
    assert text.startswith("1+2=\n\n")
    assert "3 paths started" in text
    assert "limited by max_paths" in text


def test_the_suffix_says_what_is_written(folder, tmp_path):
    for suffix in ("html", "svg", "json", "txt"):
        run("1+2=", "--model", folder, "--paths", 2, "--budget", 0.5, "-o", tmp_path / f"why.{suffix}")
    assert (tmp_path / "why.html").read_text().startswith("<!doctype html>")
    ElementTree.parse(tmp_path / "why.svg")
    assert json.loads((tmp_path / "why.json").read_text())["usage"]["paths_started"] == 2
    assert "Paths" in (tmp_path / "why.txt").read_text()


def test_what_can_not_be_written_is_refused_before_the_model_is_loaded(tmp_path):
    with pytest.raises(RequestError, match=r"output: must end in \.html, \.svg, \.json, \.txt"):
        run("1+2=", "--model", "/nowhere", "-o", tmp_path / "why.pdf")
    with pytest.raises(RequestError, match="output: there is no folder"):
        run("1+2=", "--model", "/nowhere", "-o", tmp_path / "no" / "why.html")
    with pytest.raises(RequestError, match="budget: must be a coefficient"):
        run("1+2=", "--model", tmp_path, "--budget", "huge")
