"""What happens to what was started when its starter is told to end."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
STARTER = textwrap.dedent("""
    import signal, sys
    from dev.cluster import ending
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # should these tests run under nohup
    ending.as_exceptions()
    try:
        sys.exit(ending.run(sys.argv[2:]))
    finally:
        print("cleaned up", flush=True)
""")
STARTED = textwrap.dedent("""
    import os, signal, sys, time
    def slowly(*_):
        time.sleep(0.5)
        print("started one ended", flush=True)
        sys.exit(7)
    signal.signal(signal.SIGTERM, slowly)
    print(os.getpid(), flush=True)
    time.sleep(60)
""")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_what_was_started_ends_first_and_no_second_signal_disturbs_that(number: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTER, "--", sys.executable, "-c", STARTED]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        started = psutil.Process(int(process.stdout.readline()))
        process.send_signal(number)
        process.send_signal(number)
        assert process.stdout.read().splitlines() == ["started one ended", "cleaned up"]
        assert process.wait(5) == 128 + number
    assert not started.is_running()


def test_a_status_is_passed_on() -> None:
    command = [sys.executable, "-c", STARTER, "--", sys.executable, "-c", "raise SystemExit(5)"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 5
