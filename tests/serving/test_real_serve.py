"""`controllable-inference serve` as a person meets it: what it says, how it stops, what it leaves behind."""

import contextlib
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from serving_process import TINY, gone, start_server

pytestmark = pytest.mark.triton


def family(running):
    return [
        psutil.Process(running.process.pid),
        *psutil.Process(running.process.pid).children(recursive=True),
    ]


def shared_memory(running):
    return list(Path("/dev/shm").glob(f"controllable_{running.process.pid}_*"))


def test_ask_shows_an_answer_and_its_account(server):
    command = [sys.executable, "-m", "controllable_inference.cli", "ask", "2 + 2 =", "--url", server.url]
    done = subprocess.run([*command, "--max-paths", "2", "--deadline", "0.5"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 started" in done.stdout
    for row in ("coefficient", "paths", "tokens", "time"):
        assert row in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_however_it_ends_no_process_is_left(number, tiny_model, faulty_repository, tmp_path):
    running = start_server(tmp_path, tiny_model, faulty_repository)
    try:
        running.wait("ready", 200, 60)
        while running.url not in running.log.read_text():  # it tells where it is, a moment later
            time.sleep(0.05)
        processes = family(running)
        assert len(processes) >= 4  # serve, frontend, tritonserver, stub
        started = time.monotonic()
        running.process.send_signal(number)
        assert gone(processes, 20)
        print(f"{number.name}: gone after {time.monotonic() - started:.1f} s")
        if number != signal.SIGKILL:
            assert running.process.wait() == 0
            assert not shared_memory(running)
            assert not list(tmp_path.glob("controllable-*"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.process.kill()
        running.process.wait()


def test_a_triton_that_has_answered_streams_ends_at_once(tiny_model, faulty_repository, tmp_path):
    """Readers leave a stream at its last word. A stream that Triton still held would hold it for all 30 s."""
    spec = TINY | {"serving": TINY["serving"] | {"maxConcurrentRequests": 8, "drainTimeout": "30s"}}
    running = start_server(tmp_path, tiny_model, faulty_repository, spec=spec)
    document = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "2 + 2 ="}],
        "max_tokens": 24,
        "stream": True,
        "controllable": {"max_paths": 2},
    }

    def answered(_):
        answer = httpx.post(f"{running.url}/v1/chat/completions", json=document, timeout=60)
        return answer.text.endswith("data: [DONE]\n\n")

    try:
        running.wait("ready", 200, 60)
        with ThreadPoolExecutor(4) as clients:
            assert all(clients.map(answered, range(40)))
        triton = running.child("tritonserver")
        started = time.monotonic()
        triton.terminate()
        assert gone([triton], 15)
        print(f"gone after {time.monotonic() - started:.1f} s")
    finally:
        running.process.terminate()
        running.process.wait()


def test_weights_that_do_not_load_end_it_with_the_engines_reason(tiny_model, faulty_repository, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    running = start_server(tmp_path, broken, faulty_repository)
    assert running.process.wait(60) == 1
    last = running.log.read_text().strip().splitlines()[-1]
    assert last.startswith("error: Triton did not come up: ModelLoadFailed: ")
    assert "can't be loaded" in last
