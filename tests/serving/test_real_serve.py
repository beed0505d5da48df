"""`controllable-inference serve` as a person meets it: what it says, how it stops, what it leaves behind.

`gpu: {count: 2}` is served here, too: where there is no GPU, two CPU processes (ranks) share the model. One
server with one rank and one with two are compared; then each of them comes to its own end.
"""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving_process import PATIENCE, TINY, eventually, gone, start_server

pytestmark = pytest.mark.triton

NANO = Path(__file__).parents[2] / "models/nano"
MULTIPLY = "Solve the following multiplication: 47 * 83. Give only the result as your final answer."
DRAIN = 30
"""Seconds for which Triton waits, when it is told to end, for what it believes to be open."""


def ask(running):
    question = {
        "model": "tiny",
        "messages": [{"role": "user", "content": MULTIPLY}],
        "reasoning_effort": "high",
        "seed": 1,
        "controllable": {"paths": 8, "trace": "full"},
    }
    return running.post(question)


def other_rank(running):
    (rank,) = running.stub().children()
    return rank


def shared_memory(running):
    return list(Path("/dev/shm").glob(f"controllable_{running.process.pid}_*"))


def without_scores(event):
    return {key: value for key, value in event.items() if not isinstance(value, float | dict)}


@pytest.fixture(scope="module")
def starting(faulty_repository, tmp_path_factory):
    """Two servers that come up at the same time: one with one rank, and one with two."""
    started = []
    serving = TINY["serving"] | {"maxConcurrentRequests": 8}
    try:
        for count, drain in ((1, DRAIN), (2, 3)):
            spec = {
                "gpu": {"count": count, "nvlink": "preferred"},
                "control": {"trace": "full"},
                "serving": serving | {"drainTimeout": f"{drain}s"},
            }
            folder = tmp_path_factory.mktemp("serve")
            started.append(start_server(folder, NANO, faulty_repository, spec=spec))
        yield started
    finally:
        for running in started:
            running.end()


@pytest.fixture(scope="module")
def servers(starting):
    """They, once both answer and have told where they are."""
    for running in starting:
        running.wait("ready", 200)
        eventually(lambda log=running.log, url=running.url: url in log.read_text())
    return starting


@pytest.fixture(scope="module")
def broken(faulty_repository, tmp_path_factory):
    """One whose model's weights are none."""
    folder, weights = (tmp_path_factory.mktemp(name) for name in ("serve", "broken"))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (weights / name).write_bytes((NANO / name).read_bytes())
    (weights / "model.safetensors").write_bytes(b"not safetensors")
    running = start_server(folder, weights, faulty_repository)
    yield running
    running.end()


def test_weights_that_do_not_load_end_it_with_the_engines_reason(starting, broken):
    """The other servers come up in the meantime."""
    assert broken.process.wait(PATIENCE) == 1
    last = broken.log.read_text().strip().splitlines()[-1]
    assert last.startswith("error: Triton did not come up: ModelLoadFailed: ")
    assert "can't be loaded" in last


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
    with running.unattended():
        lost.kill()
        refused = ask(running)
        assert refused.status_code == 503
        (log,) = running.log.parent.glob("controllable-*/triton.log")
        assert f"rank 1 of 2 (process {lost.pid}), ended by signal 9" in log.read_text()
        print(f"not live after {running.wait('live', 503):.1f} s")
    print(f"ready again after {running.wait('ready', 200):.1f} s")
    assert ask(running).status_code == 200
    assert other_rank(running).pid != lost.pid


def test_a_server_that_is_killed_leaves_no_process_and_has_let_go_of_answered_streams(servers):
    """Readers leave a stream at its last word. A stream that Triton still held would keep it for as long as
    requests may take to finish."""
    running = servers[0]
    document = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "2 + 2 ="}],
        "max_tokens": 24,
        "stream": True,
        "controllable": {"paths": 2},
    }
    with ThreadPoolExecutor(4) as clients:
        for answer in clients.map(running.post, [document] * 40):
            assert answer.text.endswith("data: [DONE]\n\n")
    processes = running.family()
    assert len(processes) >= 4  # serve, frontend, tritonserver, stub
    running.process.kill()
    assert gone(processes, DRAIN - 5)


def test_a_server_that_is_interrupted_leaves_no_process_no_rank_and_no_file(servers):
    running = servers[1]
    processes = running.family()
    assert other_rank(running) in processes
    running.process.send_signal(signal.SIGINT)
    assert gone(processes, PATIENCE)
    assert running.process.wait() == 0
    assert not shared_memory(running)
    assert not list(running.log.parent.glob("controllable-*"))
