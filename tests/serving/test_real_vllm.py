"""vLLM inside a real tritonserver: a process beside Triton's, and what callers are told when it dies."""

import json
import signal
import threading

import openai
import psutil
import pytest
from serving_process import eventually, start_server

from dev import vllm

pytestmark = [pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(900)]

NANO = vllm.ROOT / "models" / "nano"
QUESTION = "State the final answer to the following arithmetic problem: 57 + 87 - 70 ="
LONG = "What is 17 + 25?"
"""Not worded as nano has learnt it: some of its paths think for as long as they may."""
THINKING = {"seed": 1, "controllable": {"paths": 16, "coefficient": 2.0}}
SPEC = {
    "control": {"trace": "full"},
    "serving": {"engine": "vllm", "maxConcurrentRequests": 8, "queue": {"size": 32}, "drainTimeout": "3s"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    environ = {
        "CONTROLLABLE_VLLM_PYTHON": str(vllm.environment() / "bin" / "python"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    running = start_server(folder, NANO, vllm.ROOT / "model_repository", spec=SPEC, **environ)
    try:
        running.wait("ready", 200)
        yield running
    finally:
        running.process.terminate()
        assert running.process.wait(60) == 0


def body(content=QUESTION, **options):
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **options}


def child(server):
    """vLLM's process."""
    (found,) = [p for p in server.family() if "controllable_inference.engines.vllm.child" in p.cmdline()]
    return found


def test_the_openai_client_gets_an_answer_from_controlled_paths(server):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120)
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": QUESTION}], seed=4,
        extra_body={"controllable": {"paths": 6, "coefficient": 1.0}},
    )  # fmt: skip
    assert "74" in answer.choices[0].message.content
    usage = answer.controllable
    assert 2 <= usage["paths_started"] <= 6
    ended = usage["paths_pruned"] + usage["paths_stopped"] + usage["paths_finished"]
    assert ended == usage["paths_started"]
    eventually(lambda: server.metric('controllable_paths_total{fate="kept"}') > 0)
    assert server.metric('controllable_kv_blocks{state="free"}') > 0


def test_a_thinking_budget_holds_and_a_stream_says_what_the_whole_says(server):
    options = {"seed": 3, "controllable": {"paths": 1, "coefficient": 1.0, "thinking_tokens": 12}}
    whole = server.post(body(**options)).json()
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 12
    lines = server.post(body(stream=True, **options)).text.splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert said == whole["choices"][0]["message"]["content"] != ""


def test_what_is_wrong_with_a_request_is_told_as_by_the_native_engine(server):
    refused = server.post(body("1 + 1 = " * 4000))
    assert refused.status_code == 400
    assert "messages" in refused.json()["error"]["message"]
    assert server.post(body(controllable={"thinking_tokens": -1})).status_code == 400


def test_a_closed_connection_frees_its_blocks_within_half_a_second(server):
    used = 'controllable_kv_blocks{state="used"}'
    running = "controllable_requests_running"
    eventually(lambda: server.metric(used) == 0)
    document = body(LONG, stream=True, **THINKING)
    with server.http.stream("POST", "/v1/chat/completions", json=document) as response:
        lines = response.iter_lines()
        next(lines)
        eventually(lambda: server.metric(running) >= 1)
    assert eventually(lambda: server.metric(running) == 0) < 0.5 + 0.5  # the second half: metrics' own period
    assert server.metric(used) == 0


def test_callers_are_told_in_seconds_when_vllm_dies_and_it_comes_back(server):
    answers = []

    def ask():
        answers.append(server.post(body(LONG, **THINKING)))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: server.metric("controllable_requests_running") >= 1)
    dead = child(server)
    dead.send_signal(signal.SIGKILL)
    asking.join(5)
    assert not asking.is_alive()
    assert answers[0].status_code >= 500
    server.wait("ready", 503)
    server.wait("ready", 200)
    assert not psutil.pid_exists(dead.pid) or child(server).pid != dead.pid
    assert server.post(body()).status_code == 200
