"""One real server for most Triton tests: a tiny random Llama behind tritonserver and frontend, by `serve`."""

from pathlib import Path

import pytest
from serving_process import start_server
from tiny_model import save_lora, save_model

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A Llama with random weights that never ends a text by itself: answers are as long as they may be."""
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_lora(tmp_path_factory):
    """A LoRA for the tiny model, with random weights that change what it says."""
    folder = tmp_path_factory.mktemp("lora")
    save_lora(folder)
    return folder


@pytest.fixture(scope="session")
def faulty_repository(tmp_path_factory):
    """The shipped model repository, its model.py wrapped so that a prompt can kill the engine."""
    shipped = HERE.parents[1] / "model_repository" / "controllable"
    folder = tmp_path_factory.mktemp("repository") / "controllable"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text((shipped / "config.pbtxt").read_text())
    (folder / "1" / "model.py").write_text((HERE / "faulty_model.py").read_text())
    return folder.parent


@pytest.fixture(scope="session")
def server(tiny_model, tiny_lora, faulty_repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    law = {"name": "law", "uri": str(tiny_lora), "domain": "court", "specialTokens": ["verdict:"]}
    adapters = [law, {"name": "careful", "budgetScale": "1.5"}]
    running = start_server(
        folder, tiny_model, faulty_repository, adapters=adapters, CONTROLLABLE_SILENCE_SECONDS="4"
    )
    try:
        running.wait("ready", 200)
        yield running
    finally:
        running.process.terminate()
        assert running.process.wait(60) == 0
