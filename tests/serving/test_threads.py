"""The model process computes with as many threads as its container has cores, not as the machine has."""

import json
import subprocess
import sys

import pytest
from controllable_inference.serving import threads, triton


def cgroups_v2(folder, quota):
    (folder / "cpu.max").write_text(f"{quota} 100000\n")


def cgroups_v1(folder, quota):
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{-1 if quota == 'max' else quota}\n")
    (folder / "cpu" / "cpu.cfs_period_us").write_text("100000\n")


@pytest.mark.parametrize("write", [cgroups_v2, cgroups_v1])
@pytest.mark.parametrize(
    ("quota", "added"),
    [
        (200000, {"OMP_NUM_THREADS": "2"}),
        (150000, {"OMP_NUM_THREADS": "2"}),
        (10000, {"OMP_NUM_THREADS": "1"}),
        ("max", {}),
    ],
)
def test_a_container_with_a_cpu_limit_gets_a_thread_a_core(tmp_path, write, quota, added):
    write(tmp_path, quota)
    assert threads.thread_environment({}, tmp_path) == added


def test_without_cgroups_nothing_is_said(tmp_path):
    assert threads.thread_environment({}, tmp_path) == {}


def test_a_count_that_was_given_stays(tmp_path):
    cgroups_v2(tmp_path, 200000)
    assert threads.thread_environment({"OMP_NUM_THREADS": "3"}, tmp_path) == {}


def test_no_thread_of_a_process_in_tritons_environment_starts_more(tmp_path, monkeypatch):
    cgroups_v2(tmp_path, 100000)
    monkeypatch.setattr(
        threads, "thread_environment", lambda environ, add=threads.thread_environment: add(environ, tmp_path)
    )
    script = """
import json, os, threading, torch
a = torch.ones(600, 600)
def work():  # as the engine's thread does
    before = len(os.listdir("/proc/self/task"))
    a @ a
    print(json.dumps([torch.get_num_threads(), len(os.listdir("/proc/self/task")) - before]))
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    environ = triton.triton_environment({"PATH": "/usr/bin:/bin"})
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [1, 0]
