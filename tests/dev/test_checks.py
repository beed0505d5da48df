"""What a machine may lack, and what the user is told then."""

import os
import signal

import pytest

from dev.cluster import __main__ as command
from dev.cluster import checks, lifecycle
from dev.cluster.errors import ClusterError
from dev.cluster.paths import ClusterPaths


def test_missing_programs_are_named_by_the_packages_that_bring_them():
    needed = {"nft": "nftables", "ip": "iproute2", "tc": "iproute2"}
    assert checks.packages_lacking(needed, has=lambda program: program == "nft") == ["iproute2"]


def test_the_message_holds_the_line_to_run():
    assert "apt-get install -y buildah mmdebstrap" in str(checks.packages_message(["buildah", "mmdebstrap"]))


def test_without_leave_to_install_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(checks, "_has", lambda thing: False)
    monkeypatch.setattr(checks.subprocess, "run", lambda *a, **k: pytest.fail("ran something"))
    with pytest.raises(ClusterError, match="nftables"):
        checks.ensure_packages({"nft": "nftables"}, install=False)


def test_what_lies_in_sbin_is_found_by_the_checks_and_by_all_that_is_started(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(command, "app", lambda: None)
    command.main()
    assert os.environ["PATH"].split(os.pathsep)[-2:] == ["/usr/sbin", "/sbin"]


def test_a_user_who_is_not_root_is_told_how_to_become_it():
    with pytest.raises(ClusterError, match="sudo"):
        checks.ensure_host("Linux", user=1000)


def test_another_system_than_linux_is_pointed_to_kind():
    with pytest.raises(ClusterError, match="CLUSTER=kind"):
        checks.ensure_host("Darwin", user=0)


@pytest.mark.parametrize(
    ("found", "toolchain", "fine"),
    [
        ("go1.99.0", "local", True),
        ("go1.21.0", "auto", True),
        ("go1.21.0", "local", False),
        ("go1.19.8", "", False),
    ],
    ids=["new enough", "fetches a newer one itself", "may not fetch", "too old to know how"],
)
def test_go_must_be_new_enough_or_able_to_fetch_one_that_is(found, toolchain, fine):
    problem = checks.go_problem(found, toolchain)
    assert (problem == "") is fine
    assert fine or found in problem


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "-a", "x" * 33])
def test_a_name_that_can_not_be_a_folder_and_a_cgroup_is_refused(name):
    with pytest.raises(ClusterError, match="CLUSTER_NAME"):
        ClusterPaths.of(name)


def test_entering_a_cluster_that_is_not_up_says_how_to_start_it(tmp_path):
    with pytest.raises(ClusterError, match=r"dev\.cluster up"):
        lifecycle.inside(ClusterPaths("none", tmp_path), ["true"])
