"""`gpu: {count: 2}` on a real tritonserver: where there is no GPU, two CPU processes share the model."""

from pathlib import Path

import httpx
import pytest
from serving_process import TINY, gone, start_server

pytestmark = pytest.mark.triton

NANO = Path(__file__).parents[2] / "models/nano"
MULTIPLY = "Solve the following multiplication: 47 * 83. Give only the result as your final answer."


def ask(running):
    question = {
        "model": "tiny",
        "messages": [{"role": "user", "content": MULTIPLY}],
        "reasoning_effort": "high",
        "seed": 1,
        "controllable": {"max_paths": 8, "trace": "full"},
    }
    return httpx.post(f"{running.url}/v1/chat/completions", json=question, timeout=60)


def other_rank(running):
    (rank,) = running.stub().children()
    return rank


@pytest.fixture(scope="module")
def servers(faulty_repository, tmp_path_factory):
    """One with one rank, and one with two; both start at the same time."""
    started = []
    try:
        for count in (1, 2):
            spec = TINY | {"gpu": {"count": count, "nvlink": "preferred"}, "control": {"trace": "full"}}
            folder = tmp_path_factory.mktemp("serve")
            started.append(start_server(folder, NANO, faulty_repository, spec=spec))
        for running in started:
            running.wait("ready", 200, 90)
        yield started
    finally:
        for running in started:
            running.process.terminate()
            running.process.wait()


def without_scores(event):
    return {key: value for key, value in event.items() if not isinstance(value, float | dict)}


def test_two_ranks_give_the_answer_of_one_path_by_path_and_token_by_token(servers):
    alone, shared = (ask(running).json() for running in servers)
    assert shared["choices"] == alone["choices"]
    assert shared["choices"][0]["message"]["content"] == "3901"
    assert shared["usage"] == alone["usage"]
    lives = [[without_scores(event) for event in told["controllable"]["trace"]] for told in (alone, shared)]
    assert lives[0] == lives[1]
    assert [len(running.stub().children()) for running in servers] == [0, 1]


def test_a_rank_that_is_killed_is_named_in_the_log_and_the_model_comes_back(servers):
    running = servers[1]
    lost = other_rank(running)
    lost.kill()
    refused = ask(running)
    assert refused.status_code == 503
    (log,) = running.log.parent.glob("controllable-*/triton.log")
    assert f"rank 1 of 2 (process {lost.pid}), ended by signal 9" in log.read_text()
    print(f"not live after {running.wait('live', 503, 10):.1f} s")
    print(f"ready again after {running.wait('ready', 200, 90):.1f} s")
    assert ask(running).status_code == 200
    assert other_rank(running).pid != lost.pid


def test_a_server_that_is_stopped_leaves_no_rank(servers):
    running = servers[1]
    rank = other_rank(running)
    running.process.terminate()
    assert running.process.wait(30) == 0
    assert gone([rank], 5)
