"""One run of pytest over several clusters: a worker in each."""

import shlex
import subprocess
import sys

import execnet
import pytest

from dev.cluster import side_by_side
from dev.cluster.errors import ClusterError


def workers(names):
    options = side_by_side.pytest(names, ["-m", "cluster"])
    return [execnet.XSpec(option.removeprefix("--tx=")) for option in options if option.startswith("--tx=")]


def test_each_worker_runs_in_a_cluster_of_its_own():
    commands = [shlex.split(worker.python) for worker in workers(["a-1", "a-2"])]
    assert [command[:2] for command in commands] == [["env", "CLUSTER_NAME=a-1"], ["env", "CLUSTER_NAME=a-2"]]
    assert all(command[-3:] == ["run", "--", sys.executable] for command in commands)


def test_a_path_with_a_space_stays_one_word(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/home/me/my venv/bin/python")
    (worker,) = workers(["a-1"])
    assert shlex.split(worker.python)[-1] == "/home/me/my venv/bin/python"


def test_what_pytest_is_told_comes_last_and_files_keep_their_order():
    command = side_by_side.pytest(["a-1"], ["-m", "cluster", "slowest.py", "others"])
    assert command[-4:] == ["-m", "cluster", "slowest.py", "others"]
    assert "--no-loadscope-reorder" in command


def test_clusters_that_do_not_all_come_up_are_told_of(monkeypatch):
    monkeypatch.setattr(side_by_side, "_is_up", lambda name: False)
    monkeypatch.setattr(side_by_side, "_DEV_CLUSTER", (sys.executable, "-c", "raise SystemExit(1)"))
    with pytest.raises(ClusterError, match="not all clusters came up"):
        side_by_side.start(["a-1", "a-2"])


def test_a_cluster_that_is_in_use_is_not_taken(monkeypatch):
    started = []
    monkeypatch.setattr(side_by_side, "_is_up", lambda name: name == "a-2")
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: started.append(arguments))
    with pytest.raises(ClusterError, match="a-2 is up already"):
        side_by_side.start(["a-1", "a-2"])
    assert not started
