"""The whole way on a real tritonserver: OpenAI client, frontend, gRPC, Triton's model, the engine."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_process import eventually

pytestmark = pytest.mark.triton

QUESTION = [{"role": "user", "content": "2 + 2 ="}]
ENDLESS = {"max_tokens": 100000, "extra_body": {"controllable": {"max_paths": 1}}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def body(content="2 + 2 =", **options):
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 8, **options}


def ask_and_leave(server, stream):
    """Ask for an endless answer; leave when its first words have come, or while it is silently computed."""
    document = body(max_tokens=100000, stream=stream, controllable={"max_paths": 1})
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(document), headers)
    eventually(lambda: server.metric("controllable_requests_running") == 1)
    if stream:
        response = connection.getresponse()
        assert any(b"reasoning_content" in line for line in response)
        response.close()
    connection.close()


def time_out(server, **options):
    """What a request is answered whose deadline has passed; returns once it is counted."""
    counted = 'controllable_requests_total{outcome="timeout"}'
    before = server.metric(counted)
    refused = server.post(body(controllable={"deadline": 1e-6}, **options))
    eventually(lambda: server.metric(counted) == before + 1)
    return refused


def test_the_openai_client_gets_an_answer_with_its_account(client):
    answer = client.chat.completions.create(
        model="tiny", messages=QUESTION, max_completion_tokens=12, seed=1, reasoning_effort="medium",
        extra_body={"controllable": {"paths": 3, "trace": "summary"}},
    )  # fmt: skip
    choice = answer.choices[0]
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 36
    assert answer.usage.completion_tokens_details.reasoning_tokens <= answer.usage.completion_tokens
    assert answer.controllable["paths_started"] == 3
    assert answer.controllable["limited_by"]
    assert "trace" not in answer.controllable


def test_the_same_seed_gives_the_same_answer(client):
    answers = [
        client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=20, seed=5, stream=False)
        for _ in range(2)
    ]
    assert answers[0].choices[0].message == answers[1].choices[0].message


def test_the_openai_client_streams_reasoning_content_and_usage(client):
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=QUESTION, max_tokens=60, seed=2, stream=True,
            stream_options={"include_usage": True}, extra_body={"controllable": {"max_paths": 1}},
        )
    )  # fmt: skip
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    content = "".join(delta.content or "" for delta in deltas)
    whole = client.chat.completions.create(
        model="tiny", messages=QUESTION, max_tokens=60, seed=2, extra_body={"controllable": {"max_paths": 1}}
    )
    assert reasoning.strip() == (getattr(whole.choices[0].message, "reasoning_content", None) or "")
    assert content.strip() == whole.choices[0].message.content.strip()
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_model_and_its_adapters_are_listed(client):
    listed = {model.id: model.parent for model in client.models.list()}
    assert listed == {"tiny": None, "law": "tiny", "careful": "tiny"}
    assert client.models.retrieve("law").controllable == {"domain": "court", "budget_scale": 1.0}


def test_requests_of_one_batch_get_the_adapter_that_they_name_and_no_other(client):
    answers = {}

    def ask(model, turn):
        chat = client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=40, temperature=0,
            extra_body={"controllable": {"max_paths": 1, "coefficient": 1}},
        )  # fmt: skip
        assert chat.model == model
        answers[model, turn] = (chat.choices[0].message.reasoning_content, chat.controllable["coefficient"])

    names = ("tiny", "law", "careful")
    threads = [threading.Thread(target=ask, args=(name, turn)) for name in names for turn in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said, granted = ({key: answer[at] for key, answer in answers.items()} for at in (0, 1))
    assert all(said[name, 1] == said[name, 2] for name in names)
    assert said["law", 1] != said["tiny", 1] == said["careful", 1]
    assert [granted[name, 1] for name in names] == [1.0, 1.0, 1.5]


def test_only_its_own_adapters_special_tokens_are_one_token(client):
    def prompt_tokens(model):
        return client.completions.create(model=model, prompt="verdict:", max_tokens=1).usage.prompt_tokens

    assert {model: prompt_tokens(model) for model in ("tiny", "law")} == {"tiny": 8, "law": 1}


def test_ask_shows_an_answer_and_its_account(server):
    command = [sys.executable, "-m", "controllable_inference.cli", "ask", "2 + 2 =", "--url", server.url]
    done = subprocess.run([*command, "--paths", "2", "--deadline", "0.5"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 started" in done.stdout
    for row in ("coefficient", "paths", "tokens", "time"):
        assert row in done.stdout


def test_completions_are_served(client):
    assert client.models.retrieve("tiny").id == "tiny"
    answer = client.completions.create(model="tiny", prompt="2 + 2 =", max_tokens=5)
    assert answer.object == "text_completion"
    streamed = list(client.completions.create(model="tiny", prompt="2 + 2 =", max_tokens=5, stream=True))
    assert streamed[-1].choices[0].finish_reason in ("stop", "length")


def test_a_full_trace_tells_every_paths_life(server):
    document = body(controllable={"trace": "full", "paths": 2}, seed=3)
    events = server.post(document).json()["controllable"]["trace"]
    kinds = [event["type"] for event in events]
    assert kinds.count("path_started") == 2
    assert kinds[-1] in ("vote", "delta")
    streamed = server.post(document | {"stream": True}).text
    lines = [line[6:] for line in streamed.splitlines() if line.startswith("data: {")]
    streamed = [e for line in lines for e in json.loads(line).get("controllable", {}).get("trace", [])]
    assert [event["type"] for event in streamed].count("path_started") == 2


def test_trace_none_leaves_the_extension_out(server):
    assert "controllable" not in server.post(body(controllable={"trace": "none"})).json()


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"messages": "hi"}, "messages"),
        ({"n": 2}, "n"),
        ({"controllable": {"coefficient": -1}}, "controllable.coefficient"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_malformed_request_is_refused_by_the_name_of_its_field(client, server, change, param):
    response = server.post(body(**change))
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["param"] == param


def test_what_only_the_engine_can_refuse_comes_back_as_400_too(client):
    with pytest.raises(openai.BadRequestError, match="tokens") as refusal:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x" * 20000}])
    assert refusal.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as refusal:
        client.completions.create(model="tiny", prompt="x" * 20000)
    assert refusal.value.param == "prompt"
    assert "prompt: has" in refusal.value.message
    assert "text_input" not in refusal.value.message


def test_a_model_that_is_not_served_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="this server serves `tiny`, `law`, `careful`"):
        client.chat.completions.create(model="other", messages=QUESTION)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_cancels_its_request_within_a_second(server, stream):
    cancelled = 'controllable_requests_total{outcome="cancelled"}'

    def seconds():
        before = server.metric(cancelled)
        ask_and_leave(server, stream)
        took = eventually(lambda: server.metric(cancelled) == before + 1)
        eventually(lambda: server.metric("controllable_requests_running") == 0)
        print(f"cancelled after {took:.2f} s (stream={stream})")
        return took

    # Others on the machine may take its cores for a second, but not each time.
    assert any(seconds() < 1 for _ in range(3))


def test_a_full_queue_is_told_with_429_and_when_to_come_back(server):
    occupied = threading.Event()

    def occupy():
        request = body(max_tokens=100000, stream=True, controllable={"max_paths": 1})
        with server.http.stream("POST", "/v1/chat/completions", json=request) as response:
            for _ in response.iter_raw():
                if occupied.is_set():
                    return

    threads = [threading.Thread(target=occupy) for _ in range(6)]  # four run, two wait
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: server.metric("controllable_requests_waiting") == 2)
        refused = server.post(body())
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.headers["retry-after"]
        # A busy server is not a dead one.
        assert server.status("live") == 200
    finally:
        occupied.set()
        for thread in threads:
            thread.join()
    eventually(lambda: server.metric("controllable_requests_running") == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_deadline_that_passes_before_the_first_token_is_told_with_504(server, stream):
    refused = time_out(server, stream=stream)
    assert refused.status_code == 504
    assert refused.json()["error"]["code"] == "deadline_exceeded"
    assert refused.json()["error"]["param"] == "controllable.deadline"
    assert "allow more time" in refused.json()["error"]["message"]


def test_metrics_are_valid_and_hold_tritons_the_engines_and_the_frontends(server):
    expected = {
        "nv_inference_count",
        "controllable_requests",
        "controllable_paths",
        "controllable_kv_blocks",
        "controllable_request_duration_seconds",
        "controllable_frontend_requests",
    }
    server.post(body())
    told = {}

    def all_there():  # the engine hands them on a few times a second
        told["text"] = server.metrics()
        told["families"] = {family.name for family in text_string_to_metric_families(told["text"])}
        return expected <= told["families"]

    eventually(all_there)
    types = {line for line in told["text"].splitlines() if line.startswith("# TYPE")}
    assert len(told["families"]) == len(types)


def test_health_checks_are_no_requests_of_anybody(server):
    counted = ['controllable_requests_total{outcome="completed"}', 'controllable_paths_total{fate="kept"}']
    tritons = 'nv_inference_request_success{model="controllable",version="1"}'

    def settled():
        """What is counted when all that has happened is: what came last is told no sooner than the rest."""
        time_out(server)
        return [server.metric(name) for name in counted]

    server.post(body())
    before = settled()
    assert min(before) > 0
    asked = server.metric(tritons)
    # For a while a verdict is shared; then the model is asked again.
    eventually(lambda: server.status("ready") == 200 and server.metric(tritons) > asked)
    assert settled() == before


def test_a_dead_engine_thread_fails_its_requests_and_is_back_at_once(server, client):
    failures = []

    def stream():
        try:
            for _ in client.chat.completions.create(model="tiny", messages=QUESTION, stream=True, **ENDLESS):
                pass
        except openai.APIError as error:
            failures.append(error)

    bystander = threading.Thread(target=stream)
    bystander.start()
    eventually(lambda: server.metric("controllable_requests_running") == 1)
    stub = server.stub().pid
    killed = server.post(body("KILL"))
    assert killed.status_code == 503
    assert killed.headers["retry-after"]
    bystander.join(60)
    assert len(failures) == 1
    print(f"back after {eventually(lambda: server.post(body()).status_code == 200):.2f} s")
    assert server.stub().pid == stub  # so it was back before `serve` has taken the model for dead


def test_a_killed_stub_is_noticed_told_to_callers_and_replaced(server):
    outcome = {}

    def call(stream):
        response = server.post(body(max_tokens=100000, stream=stream, controllable={"max_paths": 1}))
        outcome[stream] = (response.status_code, response.text)

    callers = [threading.Thread(target=call, args=(stream,)) for stream in (True, False)]
    for caller in callers:
        caller.start()
    eventually(lambda: server.metric("controllable_requests_running") == 2)
    with server.unattended():
        os.kill(server.stub().pid, signal.SIGKILL)
        print(f"not live after {server.wait('live', 503):.1f} s")
        assert server.status("ready") == 503
        refused = server.post(body())
        assert refused.status_code == 503
        assert "Traceback" not in refused.text
    for caller in callers:
        caller.join(60)
    assert outcome[False][0] in (503, 504)
    assert '"error"' in outcome[True][1].splitlines()[-2]
    print(f"ready again after {server.wait('ready', 200):.1f} s")
    assert server.post(body()).status_code == 200
