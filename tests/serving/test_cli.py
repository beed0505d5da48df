"""The command line: quick to help, one clear line when something is wrong."""

import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "controllable_inference.cli"]


def run(*arguments, **environ):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_help_teaches_by_example_and_loads_no_model_library():
    started = time.monotonic()
    done = run("--help")
    assert done.returncode == 0
    assert "serve examples/nano.yaml" in done.stdout
    for command in ("serve", "ask", "fetch", "triton", "frontend", "eval", "train-nano"):
        assert command in done.stdout
    print(f"--help took {time.monotonic() - started:.2f} s")
    script = "import sys, controllable_inference.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["ask", "why?", "--url", "http://127.0.0.1:9"], "nobody listens there"),
        (["fetch", "image:///nowhere", "--to", "/tmp/never"], "there is no folder"),
        (["frontend"], "CONTROLLABLE_ENGINE_CONFIG is not set"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_status_1(arguments, words):
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
