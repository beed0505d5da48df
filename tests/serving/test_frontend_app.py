"""The frontend's HTTP side, in front of a scripted Triton client (the real one: test_real_triton.py)."""

import asyncio
import json
import time

import httpx
import pytest
from controllable_inference.serving.config import AdapterSection
from controllable_inference.serving.frontend import app as frontend
from controllable_inference.serving.frontend.errors import ApiError
from controllable_inference.serving.frontend.health import Health
from controllable_inference.serving.frontend.settings import FrontendSettings
from controllable_inference.serving.frontend.triton_client import Reply

USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 5,
    "reasoning_tokens": 4,
    "coefficient": 1.0,
    "paths_started": 2,
}
ANSWER = [Reply(reasoning="hm "), Reply(), Reply(text="42"), Reply(finish_reason="stop", usage=USAGE)]
DOCUMENT = {"model": "nano", "messages": [{"role": "user", "content": "hi"}]}


class ScriptedTriton:
    """Says `script`: replies, seconds to wait, or an error to raise."""

    def __init__(self, script=ANSWER, loading=False):
        self.script = script
        self.loading = loading
        self.questions = []
        self.closed = 0
        self.last_progress = -1e9

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def is_loading(self):
        return self.loading

    async def ask(self, question):
        self.questions.append(question)
        try:
            for part in self.script:
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, Reply):
                    yield part
                else:
                    await asyncio.sleep(part)
        finally:
            self.closed += 1


@pytest.fixture
def triton():
    return ScriptedTriton()


@pytest.fixture
async def client(triton, monkeypatch):
    monkeypatch.setattr(frontend, "TritonClient", lambda *_: triton)
    settings = FrontendSettings(model="nano", body_limit=2000, canary_timeout=0.2, canary_age=0.1)
    application = frontend.create_app(settings)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://frontend") as client:
        yield client


async def chat(client, **fields):
    return await client.post("/v1/chat/completions", json=DOCUMENT | fields)


def data(response):
    return [line[len("data: ") :] for line in response.text.splitlines() if line.startswith("data: ")]


async def test_a_whole_answer_has_content_reasoning_usage_and_the_extension(client):
    answer = (await chat(client)).json()
    assert answer["choices"][0]["message"] == {
        "role": "assistant", "content": "42", "refusal": None, "reasoning_content": "hm ",
    }  # fmt: skip
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert answer["usage"]["total_tokens"] == 8
    assert answer["controllable"] == {"coefficient": 1.0, "paths_started": 2}


async def test_what_the_operator_keeps_back_no_request_is_told(triton, monkeypatch):
    monkeypatch.setattr(frontend, "TritonClient", lambda *_: triton)
    application = frontend.create_app(FrontendSettings(model="nano", trace="none"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as client:
        assert "controllable" not in (await chat(client, controllable={"trace": "full"})).json()


async def test_a_stream_opens_with_the_role_and_ends_with_reason_usage_and_done(client):
    response = await chat(client, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, last = data(response)
    chunks = [json.loads(chunk) for chunk in chunks]
    assert last == "[DONE]"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[1]["choices"][0]["delta"] == {"reasoning_content": "hm "}
    assert chunks[2]["choices"][0]["delta"] == {"content": "42"}
    assert chunks[3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[4]["choices"] == []
    assert chunks[4]["usage"]["prompt_tokens"] == 3
    assert ": alive" in response.text


@pytest.fixture
async def adapted(triton, monkeypatch):
    """A client of a server with an adapter."""
    monkeypatch.setattr(frontend, "TritonClient", lambda *_: triton)
    law = AdapterSection(name="law", domain="court", path="/w", special_tokens=(), budget_scale="1.5")
    application = frontend.create_app(FrontendSettings(model="nano", adapters=(law,)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://x") as client:
        yield client


async def test_adapters_are_listed_as_models_with_the_model_as_their_parent(adapted):
    base, law = (await adapted.get("/v1/models")).json()["data"]
    assert (base["id"], base["parent"]) == ("nano", None)
    assert (law["id"], law["parent"]) == ("law", "nano")
    assert law["controllable"] == {"domain": "court", "budget_scale": 1.5}
    assert (await adapted.get("/v1/models/law")).json() == law


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("model", "adapter"), [("nano", None), ("law", "law")])
async def test_an_adapter_is_asked_by_its_name_as_the_model(adapted, triton, model, adapter, stream):
    answer = await chat(adapted, model=model, stream=stream)
    assert triton.questions[0].adapter == adapter
    told = json.loads(data(answer)[0]) if stream else answer.json()
    assert told["model"] == model


async def test_a_model_that_is_not_there_is_not_found_and_those_that_are_are_told(adapted, triton):
    for refused in (await chat(adapted, model="tax"), await adapted.get("/v1/models/tax")):
        assert refused.status_code == 404
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == ("model", "model_not_found")
        assert error["message"] == "The model `tax` does not exist; this server serves `nano`, `law`"
    assert not triton.questions


async def test_an_error_before_the_first_reply_is_an_http_status_even_for_a_stream(client, triton):
    triton.script = [ApiError(429, "queue: full", code="queue_full")]
    response = await chat(client, stream=True)
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"


async def test_an_error_later_in_a_stream_is_an_event_and_the_end(client, triton):
    triton.script = [Reply(text="4"), ApiError(504, "silent")]
    response = await chat(client, stream=True)
    assert json.loads(data(response)[-1])["error"]["message"] == "silent"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_cut_off_is_an_error_and_never_passed_off_as_whole(client, triton, stream):
    triton.script = [Reply(text="4")]
    assert "cut off" in (await chat(client, stream=stream)).text


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_without_any_reply_is_the_models_failure(client, triton, stream):
    triton.script = []
    response = await chat(client, stream=stream)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "model_failed"


async def test_the_inside_of_a_failure_stays_inside(client, triton):
    triton.script = [RuntimeError("secret")]
    response = await chat(client)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("content", "status"), [(b"{", 400), (b"", 400), (b'"' + b"x" * 3000 + b'"', 413), (b"[" * 1500, 400)]
)
async def test_bodies_that_are_not_json_or_too_large_never_reach_triton(client, triton, content, status):
    response = await client.post("/v1/chat/completions", content=content)
    assert response.status_code == status
    assert response.json()["error"]["message"]
    assert not triton.questions


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (rb'{"model": "\ud83d", "messages": []}', "model"),
        (rb'{"model": "nano", "messages": [{"role": "user", "content": "a\ud83d"}]}', "messages.0.content"),
        (
            b'{"model": "nano", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
            "messages.0.content",
        ),
        (rb'{"model": "nano", "messages": [{"role": "user", "content": "a", "\ud83d": 1}]}', "messages.0"),
        (rb'{"model": "nano", "user": "\ud83d"}', "user"),
        (rb'{"\ud83d": 1}', "body"),
    ],
)
async def test_half_a_character_is_refused_by_the_name_of_its_field(client, triton, content, param):
    response = await client.post("/v1/chat/completions", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert "half of a surrogate pair" in response.json()["error"]["message"]
    assert not triton.questions


async def test_a_character_written_as_a_surrogate_pair_is_whole(client, triton):
    content = rb'{"model": "nano", "messages": [{"role": "user", "content": "\ud83d\ude00"}]}'
    assert (await client.post("/v1/chat/completions", content=content)).status_code == 200
    assert triton.questions[0].prompt[0]["content"] == "\N{GRINNING FACE}"


async def test_unknown_paths_and_methods_get_errors_of_the_same_form(client):
    assert (await client.get("/v2/health")).json()["error"]["type"] == "invalid_request_error"
    assert (await client.get("/v1/completions")).status_code == 405


async def test_every_request_to_triton_is_closed(client, triton):
    await chat(client)
    await chat(client, stream=True)
    assert triton.closed == len(triton.questions) == 2


async def test_metrics_are_there_without_triton_and_say_that_it_is_missing(client):
    await chat(client)
    text = (await client.get("/metrics")).text
    assert 'controllable_frontend_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert "controllable_frontend_triton_up 0.0" in text


async def test_a_stream_that_breaks_off_counts_as_the_failure_that_it_is(client, triton):
    triton.script = [Reply(text="4"), ApiError(502, "cut off")]
    await chat(client, stream=True)
    text = (await client.get("/metrics")).text
    assert 'controllable_frontend_requests_total{route="/v1/chat/completions",status="502"} 1.0' in text
    assert 'status="200"' not in text


async def status(client, what):
    return (await client.get(f"/health/{what}")).status_code


async def test_a_model_that_answers_is_ready_and_live(client):
    assert (await status(client, "live"), await status(client, "ready")) == (200, 200)


async def test_a_model_that_is_loading_is_live_and_not_ready(client, triton):
    triton.script, triton.loading = [ApiError(503, "connection refused")], True
    assert (await status(client, "live"), await status(client, "ready")) == (200, 503)


async def test_a_model_that_does_not_answer_is_neither_though_the_frontend_is_fine(client, triton):
    triton.script = [60]
    assert (await status(client, "live"), await status(client, "ready")) == (503, 503)
    assert await status(client, "frontend") == 200


@pytest.mark.parametrize("script", [[60], [ApiError(429, "queue: full")]])
async def test_a_model_too_busy_for_the_canary_is_live_as_long_as_others_have_replies(client, triton, script):
    triton.script, triton.last_progress = script, time.monotonic()
    assert (await status(client, "live"), await status(client, "ready")) == (200, 200)


async def test_a_dead_model_is_not_taken_for_a_busy_one(client, triton):
    triton.script, triton.last_progress = [ApiError(503, "not healthy")], time.monotonic()
    assert await status(client, "live") == 503


async def test_callers_share_one_canary_and_its_verdict_for_a_while(triton):
    health = Health(triton, FrontendSettings(model="nano", canary_age=0.1))
    triton.script = [0.05, *ANSWER]
    verdicts = await asyncio.gather(*(health.verdict() for _ in range(20)))
    assert all(verdict.ready for verdict in verdicts)
    await health.verdict()
    assert len(triton.questions) == 1
    await asyncio.sleep(0.15)
    await health.verdict()
    assert len(triton.questions) == 2


async def test_loading_does_not_last_for_ever(triton):
    triton.script, triton.loading = [ApiError(503, "connection refused")], True
    health = Health(triton, FrontendSettings(model="nano", canary_age=0.0, loading=0.1))
    assert (await health.verdict()).live
    await asyncio.sleep(0.15)
    assert not (await health.verdict()).live
