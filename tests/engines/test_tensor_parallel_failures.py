"""Ranks that can't be, and ranks that die: an error that says so, at once, and no process left behind."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from controllable_inference import ControllableInference, SamplingParams
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.events import Failed
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.native import tensor_parallel
from controllable_inference.engines.native.tensor_parallel import Ranks
from controllable_inference.errors import EngineDead, ModelLoadError
from test_limits import Waiter
from tiny_engines import make_model, make_tokenizer, other_ranks, save_checkpoint

pytestmark = pytest.mark.usefixtures("quick_ranks")
ENDLESS = MajorityVote(4, 240)
SMALL = EngineLimits(kv_blocks=100)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    model = make_model(eos_token_id=None)
    return save_checkpoint(tmp_path_factory.mktemp("llama"), model, make_tokenizer())


def load(folder: Path, ranks: int) -> ControllableInference:
    return ControllableInference.from_pretrained(
        folder, limits=SMALL, controller=ENDLESS, tensor_parallel=ranks
    )


@pytest.mark.parametrize("ranks", [3, 4, 0, -2])
def test_ranks_that_the_heads_can_not_be_divided_by_are_refused_with_the_numbers(checkpoint, ranks):
    said = rf"tensor_parallel {ranks} does not divide 2 key-value heads and 4 attention heads; 1 or 2 would"
    with pytest.raises(ModelLoadError, match=said):
        load(checkpoint, ranks)
    assert not other_ranks()


def test_an_architecture_without_a_plan_for_its_attention_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_head": 4}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelLoadError, match="no plan that shares the attention heads of gpt2"):
        load(tmp_path, 2)


def test_a_device_or_a_gguf_file_can_not_be_shared(checkpoint):
    for what in ({"device": "cpu"}, {"gguf_file": "model.gguf"}):
        with pytest.raises(ModelLoadError, match="no GGUF, no device"):
            ControllableInference.from_pretrained(checkpoint, tensor_parallel=2, **what)


def test_a_rank_that_dies_while_it_loads_fails_the_load(checkpoint):
    ranks = Ranks(checkpoint, "auto", 2)
    try:
        ranks._others[0].process.kill()
        with pytest.raises(ModelLoadError, match=r"rank 1 of 2 \(process \d+\), ended by signal 9"):
            ranks.load()
    finally:
        ranks.close()
    assert not other_ranks()


@pytest.mark.parametrize("when", ["in the middle of a step", "idle"])
def test_a_rank_that_is_killed_fails_every_request_and_the_engine_stays_dead(checkpoint, when):
    with load(checkpoint, 2) as model:
        model.generate("1+2=", SamplingParams(max_tokens=2), seed=1)
        (other,) = other_ranks()
        waiters = [Waiter() for _ in range(3)]
        if when == "idle":
            other.kill()
        for waiter in waiters:
            model.engine.submit("1+2=", on_event=waiter)
        other.kill()
        began = time.monotonic()
        for waiter in waiters:
            assert isinstance(waiter.last, Failed)
            assert waiter.last.error == "EngineDead"
            assert "RankLost" in waiter.last.message
            assert f"rank 1 of 2 (process {other.pid}), ended by signal 9" in waiter.last.message
        assert (
            time.monotonic() - began < tensor_parallel.PATIENCE.total_seconds() / 2
        )  # it was not waited for
        model.engine.restart()
        assert not model.engine.alive
        with pytest.raises(EngineDead, match="rank 1 of 2"):
            model.generate("1+2=")
    assert not other_ranks()


def test_a_rank_that_hangs_is_waited_for_no_longer_than_patience_lasts(checkpoint, monkeypatch):
    monkeypatch.setattr(tensor_parallel, "PATIENCE", timedelta(seconds=5))  # enough to load on a busy machine
    with load(checkpoint, 2) as model:
        (other,) = other_ranks()
        other.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineDead, match="not computed by all 2 ranks"):
            model.generate("1+2=", seed=1)
    assert not other_ranks()


def test_a_rank_that_takes_nothing_in_does_not_hold_up_who_has_much_to_tell_it(checkpoint, monkeypatch):
    monkeypatch.setattr(tensor_parallel, "PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr(tensor_parallel, "GOODBYE", 0.2)
    ranks = Ranks(checkpoint, "auto", 2)
    try:
        other_ranks()[0].send_signal(signal.SIGSTOP)
        with pytest.raises(BlockingIOError):
            ranks.tell(bytes(2**22))
    finally:
        ranks.close()
    assert not other_ranks()


def test_when_rank_0_is_killed_the_others_end_with_it(checkpoint, forks):
    """Here the other rank is started as in the product: an interpreter of its own."""
    reading, writing = os.pipe()
    rank0 = forks.run("rank0", str(checkpoint), writing, dict(os.environ))
    os.close(writing)
    other = psutil.Process(int(os.read(reading, 20)))
    os.close(reading)
    assert other.ppid() == rank0.pid
    assert "tensor_parallel import work" in other.cmdline()[-1]
    rank0.kill()
    other.wait(30)
    rank0.wait()
