"""The controller that the documentation shows does what it says."""

import importlib.util
from pathlib import Path

from controllable_inference.core.request import SamplingParams
from talker import talker
from tiny_engines import Stepped, make_engine

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "first_two_agree.py"


def load():
    spec = importlib.util.spec_from_file_location("first_two_agree", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FirstTwoAgree()


def run(engine, requests):
    asked = [engine.submit("1+2=", SamplingParams(seed=seed)) for seed in range(requests)]
    engine.run()
    return [request.result.paths for request in asked]


def test_it_stops_once_two_agree(tokenizer):
    """By a model that thinks in lines and answers with one digit."""
    all_paths = run(Stepped(make_engine(talker(), tokenizer, load())), 40)
    stopped = [paths for paths in all_paths if any(path.reason == "two agree" for path in paths)]
    assert stopped
    for paths in stopped:
        finished = [path.answer_key for path in paths if path.fate == "kept"]
        assert max(map(finished.count, finished)) == 2


def test_it_drops_paths_that_are_unsure_but_for_the_last(stepped):
    """By a model whose weights are random, which is unsure of everything."""
    all_paths = run(stepped(load()), 10)
    assert {path.reason for paths in all_paths for path in paths} >= {"unsure"}
    assert all(any(path.fate != "pruned" for path in paths) for paths in all_paths)
