"""What identifies a cluster on the host: a process that cannot be mistaken, and a cgroup."""

import subprocess
import sys

from dev.cluster import cgroups
from dev.cluster.process import Process


def test_a_process_is_alive_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process.find(child.pid)
    assert process.alive
    child.communicate(b"\n")
    assert not process.alive


def test_a_zombie_is_not_alive():
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    process = Process.find(child.pid)
    child.stdin.close()
    while Process.find(child.pid):
        pass
    assert not process.alive
    child.wait()


def test_another_process_with_the_same_id_is_not_the_one_that_was_saved(tmp_path):
    child = subprocess.Popen(["sleep", "60"])
    try:
        Process(child.pid, "started at another time").save(tmp_path / "p.json")
        assert Process.load(tmp_path / "p.json") is None
    finally:
        child.kill()
        child.wait()


def test_the_saved_process_is_found_again(tmp_path):
    child = subprocess.Popen(["sleep", "60"])
    try:
        process = Process.find(child.pid)
        process.save(tmp_path / "p.json", more=1)
        assert Process.load(tmp_path / "p.json") == process
    finally:
        child.kill()
        child.wait()


def version_1(root):
    for controller in ("memory", "cpuset"):
        (root / controller).mkdir()
        (root / controller / "cgroup.procs").touch()
    (root / "cpuset" / "cpuset.cpus").write_text("0-1")
    (root / "memory-link").symlink_to("memory")
    return root


def test_on_version_1_a_cgroup_is_made_under_each_controller(tmp_path):
    assert {d.name for d in cgroups.hierarchies(version_1(tmp_path))} == {"memory", "cpuset"}
    cgroups.create("test", tmp_path)
    assert (tmp_path / "memory" / "controllable-test").is_dir()
    assert (tmp_path / "cpuset" / "controllable-test").is_dir()


def test_on_version_2_the_controllers_are_passed_on_to_the_pods(tmp_path):
    for group in (tmp_path, tmp_path / "controllable-test"):
        group.mkdir(exist_ok=True)
        (group / "cgroup.controllers").write_text("cpu memory pids")
        (group / "cgroup.subtree_control").write_text("cpu")
    assert cgroups.hierarchies(tmp_path) == [tmp_path]
    cgroups.create("test", tmp_path)
    assert (tmp_path / "controllable-test" / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_removing_a_cgroup_takes_its_children_along(tmp_path):
    for controller in cgroups.hierarchies(version_1(tmp_path)):
        (controller / "controllable-test" / "kubepods" / "pod1").mkdir(parents=True)
    cgroups.remove("test", tmp_path)
    assert not list(tmp_path.glob("*/controllable-test"))
