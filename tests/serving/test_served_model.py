"""The Triton model without Triton, on a scripted engine: every request ends exactly once."""

import functools
import itertools
import json
import time

import cluster_fixtures
import pytest
from controllable_inference.errors import QueueFull
from controllable_inference.serving.manifest import parse_manifest
from controllable_inference.serving.triton_model import ServedModel
from serving_fakes import FakeEngine, RecordingChannel, RecordingSeries
from test_engine_json import manifest

SOON = 60.0
"""Seconds, on however busy a machine."""
eventually = functools.partial(cluster_fixtures.eventually, timeout=SOON)


@pytest.fixture
def config():
    return parse_manifest(manifest(serving={"drainTimeout": "1s"})).engine_config("m")


@pytest.fixture
def served(config):
    engine = FakeEngine()
    model = ServedModel(config, lambda *_: (engine, "</think>"), lambda *_: RecordingSeries())
    model.engine = engine
    yield model
    model.close()


def ask(served, text=b"hello", parameters=None, **tensors):
    channel = RecordingChannel()
    served.accept({"text_input": text, **tensors}, parameters or {}, channel)
    return channel


def test_without_streaming_there_is_one_response_and_it_is_final(served):
    channel = ask(served)
    assert channel.done.wait(SOON)
    assert len(channel.responses) == 1
    assert channel.finals == 1
    assert channel.responses[0]["text_output"] == "42"


def test_a_stream_ends_with_one_final_response(served):
    channel = ask(served, stream=True)
    assert channel.done.wait(SOON)
    assert channel.finals == 1
    assert "".join(r.get("reasoning_output", "") for r in channel.responses) == "word0 word1 word2 "
    assert json.loads(channel.responses[-1]["usage"])["paths_started"] == 1


@pytest.mark.parametrize(("trace", "told"), [("none", False), ("summary", False), ("full", True)])
def test_a_request_that_says_nothing_is_told_what_the_operator_says(trace, told):
    config = parse_manifest(manifest(control={"trace": trace})).engine_config("m")
    model = ServedModel(config, lambda *_: (FakeEngine(), "</think>"), lambda *_: RecordingSeries())
    channel = ask(model)
    assert channel.done.wait(SOON)
    assert ("event" in channel.responses[0]) == told
    model.close()


def test_a_malformed_request_never_reaches_the_engine(served):
    channel = ask(served, sampling_parameters=b'{"temperature": 9}')
    assert channel.error == (
        "INVALID_ARG",
        "sampling_parameters.temperature: must be a number in [0, 2], got 9",
    )
    assert channel.finals == 1
    assert not served.engine.submitted


@pytest.mark.parametrize("control", [b'{"effort": []}', b'{"effort": ' + b"[" * 5000])
def test_no_document_leaves_its_sender_without_an_answer(served, control):
    channel = ask(served, control=control)
    assert channel.error[0] == "INVALID_ARG"
    assert channel.error[1].startswith("control")
    assert channel.finals == 1
    assert not served.engine.submitted


def test_a_request_reaches_the_engine_with_the_adapter_that_it_names(served):
    for tensors in ({}, {"adapter": b"law"}):
        assert ask(served, **tensors).done.wait(SOON)
    assert [adapter for *_, adapter in served.engine.submitted] == [None, "law"]


def test_a_request_whose_channel_is_broken_is_nobody_elses_trouble(served):
    class Broken(RecordingChannel):
        def fail(self, code, message):
            raise RuntimeError("no such pipe")

    served.accept({}, {}, Broken())
    assert ask(served).done.wait(SOON)


def test_a_full_queue_is_told_apart_from_a_failure(served, monkeypatch):
    def full(*_, **__):
        raise QueueFull("holds 64 running and 256 waiting requests")

    monkeypatch.setattr(served.engine, "submit", full)
    channel = ask(served)
    assert channel.error == ("UNAVAILABLE", "queue: holds 64 running and 256 waiting requests")
    assert channel.finals == 1


def test_a_client_that_leaves_is_noticed_within_a_quarter_of_a_second(served):
    class Watched(RecordingChannel):
        def __init__(self):
            super().__init__()
            self.looks = []

        def is_cancelled(self):
            self.looks.append(time.monotonic())
            return super().is_cancelled()

    channel = Watched()
    served.accept({"text_input": b"mute", "stream": True}, {}, channel)
    eventually(lambda: len(channel.looks) > 5)
    # The shortest, as a busy machine may hold up any one of them.
    assert min(later - look for look, later in itertools.pairwise(channel.looks)) < 0.25
    channel.cancelled = True
    assert channel.done.wait(SOON)
    assert len(served.engine.cancelled) == 1
    assert channel.error[0] == "CANCELLED"
    assert channel.finals == 1


def test_a_silent_stream_gives_signs_of_life_where_they_are_wanted(served):
    quiet = ask(served, b"mute")
    channel = ask(served, b"mute", {"heartbeat_ms": 100})
    eventually(lambda: channel.responses.count({}) >= 2)
    assert not channel.done.is_set()
    assert quiet.responses == []


def test_an_engine_that_makes_no_steps_gives_no_sign_of_life(served):
    served.engine.working = False
    channel = ask(served, b"mute", {"heartbeat_ms": 100})
    time.sleep(1)
    assert channel.responses.count({}) <= 1


def test_when_the_engine_dies_open_requests_fail_and_it_is_started_again(served):
    channel = ask(served, b"mute", stream=True)
    served.engine.die()
    assert channel.done.wait(SOON)
    assert channel.error == ("UNAVAILABLE", "engine: the engine ended by RuntimeError; try again")
    eventually(lambda: served.engine.restarts)
    again = ask(served)
    assert again.done.wait(SOON)
    assert again.responses[0]["text_output"] == "42"
    assert channel.finals == 1


def test_an_engine_that_can_not_start_again_is_told_to_once(served):
    served.engine.mortal = True
    served.engine.die()
    eventually(lambda: served.engine.restarts)
    time.sleep(1)
    assert served.engine.restarts == 1


def test_closing_ends_open_requests_with_an_error(config):
    model = ServedModel(config, lambda *_: (FakeEngine(), None), lambda *_: RecordingSeries())
    channel = ask(model, b"mute", stream=True)
    model.close()
    assert channel.error == ("UNAVAILABLE", "server: shutting down")
    assert channel.finals == 1


def test_a_broken_channel_does_not_silence_the_others(served):
    class Broken(RecordingChannel):
        def send(self, outputs, final):
            raise RuntimeError("no such pipe")

    broken = Broken()
    served.accept({"text_input": b"x", "stream": True}, {}, broken)
    channel = ask(served)
    assert channel.done.wait(SOON)
    assert broken.done.wait(SOON)
    assert broken.error[0] == "INTERNAL"
    assert broken.finals == 1


def test_a_model_that_does_not_load_says_why_in_the_termination_log(config, tmp_path, monkeypatch):
    log, engine_json = tmp_path / "termination", tmp_path / "engine.json"
    log.write_text("")
    engine_json.write_text(json.dumps(config.to_json()))
    monkeypatch.setenv("CONTROLLABLE_TERMINATION_LOG", str(log))
    monkeypatch.setenv("CONTROLLABLE_ENGINE_CONFIG", str(engine_json))

    def build(*_):
        raise ValueError("weights are of another shape")

    with pytest.raises(ValueError, match="another shape"):
        ServedModel.from_environment(lambda *_: RecordingSeries(), build)
    assert json.loads(log.read_text()) == {
        "reason": "ModelLoadFailed",
        "message": "ValueError: weights are of another shape",
    }
