"""The tiny models of the engine's tests serve here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

import pytest
from talker import talker
from tiny_engines import make_tokenizer, save_checkpoint


@pytest.fixture(scope="session")
def talker_checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("models") / "talker", talker(), make_tokenizer())
