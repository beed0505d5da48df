"""vLLM in a process of its own: shared by two ranks, with LoRA weights, and refused by name."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from typing import Any

import pytest
import torch
from chains import NANO
from controllable_inference.core.config import ControlSettings
from controllable_inference.core.domain import DomainAdapter
from controllable_inference.core.events import Done, Failed
from controllable_inference.core.request import RequestBudget, Result, SamplingParams
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.vllm import remote
from controllable_inference.engines.vllm.nodes import INDEX, LEADER, SIZE
from controllable_inference.engines.vllm.remote import RemoteEngine
from controllable_inference.errors import ModelLoadError
from controllable_inference.model import ControllableInference

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

LIMITS = EngineLimits(kv_blocks=400, max_rows=16)
GREEDY = SamplingParams(temperature=0.0)
BUDGET = RequestBudget(coefficient=1.0, trace="none")


def load(**options: Any) -> RemoteEngine:
    return RemoteEngine(NANO, "auto", ControlSettings(), limits=LIMITS, **options)


def ask(engine: RemoteEngine, prompt: Any, adapter: str | None = None) -> Result:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    engine.submit(prompt, GREEDY, BUDGET, events.put, adapter=adapter, streaming=False, counted=True)
    while not isinstance(event := events.get(timeout=60), Done):
        assert not isinstance(event, Failed), event
    return event.result


@pytest.fixture
def prompts(problems):
    return [[{"role": "user", "content": problem.question}] for problem in problems[:12]]


def test_two_ranks_write_what_one_writes_and_their_hidden_states_reach_control(on_vllm, prompts, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")  # both on this machine's one NUMA node
    engine = load(tensor_parallel=2)
    try:
        shared = [ask(engine, prompt) for prompt in prompts]
    finally:
        engine.shutdown()
    alone = [on_vllm.generate(prompt, GREEDY, BUDGET) for prompt in prompts]
    assert [result.text for result in shared] == [result.text for result in alone]
    pairs = [(one.paths[0].scores, other.paths[0].scores) for one, other in zip(shared, alone, strict=True)]
    assert all(len(one) == len(other) for one, other in pairs)
    assert any(scores for scores, _ in pairs)
    assert max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)) < 0.01


def test_two_nodes_write_what_one_writes(on_vllm, prompts, monkeypatch):
    """As LeaderWorkerSet starts them, and ends them together; here both are on one machine."""
    for name, value in {SIZE: "2", LEADER: "127.0.0.1", "VLLM_HOST_IP": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", remote.WORKER_NODE, str(NANO), "auto", "2"]
    worker = subprocess.Popen(command, env={**os.environ, INDEX: "1"})
    try:
        monkeypatch.setenv(INDEX, "0")
        engine = RemoteEngine(NANO, "auto", ControlSettings(), limits=EngineLimits(), tensor_parallel=2)
        try:
            shared = [ask(engine, prompt) for prompt in prompts]
        finally:
            engine.shutdown()
    finally:
        worker.kill()
        worker.wait()
    alone = [on_vllm.generate(prompt, GREEDY, BUDGET) for prompt in prompts]
    assert [result.text for result in shared] == [result.text for result in alone]


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """Random LoRA weights for nano that change what it says."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("lora")
    torch.manual_seed(4)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(NANO), config).save_pretrained(folder)
    return folder


def test_an_adapter_is_for_requests_that_name_it_and_says_what_it_says_natively(on_vllm, lora, prompts):
    adapter = DomainAdapter("law", peft_path=lora)
    engine = load(adapters=[adapter])
    try:
        named = [ask(engine, prompt, "law").text for prompt in prompts]
        plain = [ask(engine, prompt).text for prompt in prompts]
    finally:
        engine.shutdown()
    assert plain == [on_vllm.generate(prompt, GREEDY, BUDGET).text for prompt in prompts]
    with ControllableInference.from_pretrained(
        NANO, engine="native", limits=LIMITS, adapters=[adapter]
    ) as native:
        expected = [native.generate(prompt, GREEDY, BUDGET, adapter="law").text for prompt in prompts]
    assert named == expected
    assert named != plain


def test_a_model_that_can_not_be_loaded_is_told_by_the_child(tmp_path):
    with pytest.raises(ModelLoadError, match=r"has no config\.json"):
        RemoteEngine(tmp_path, "auto", ControlSettings(), limits=LIMITS)


def test_a_child_that_dies_while_it_loads_is_no_riddle(tmp_path, monkeypatch):
    monkeypatch.setenv("CONTROLLABLE_VLLM_PYTHON", "/bin/false")
    with pytest.raises(ModelLoadError, match="ended with code 1 while it loaded"):
        load()
