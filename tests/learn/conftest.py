"""A tiny model that talks, trained once for all tests here."""

import pytest
from talker import talker
from tiny_engines import make_tokenizer, save_checkpoint


@pytest.fixture(scope="session")
def talker_checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("models") / "talker", talker(), make_tokenizer())
