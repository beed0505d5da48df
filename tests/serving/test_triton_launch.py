"""Where tritonserver is found, and how it is started."""

import sys
from pathlib import Path

import numpy
import pytest
from controllable_inference.serving import triton
from controllable_inference.serving.errors import ServingError, TritonNotFound, UnsupportedRuntime
from controllable_inference.serving.processes import Child


def server_in(folder):
    (folder / "bin").mkdir(parents=True)
    (folder / "backends").mkdir()
    (folder / "bin" / "tritonserver").write_text("")
    return folder


def test_the_environment_names_tritons_home(tmp_path):
    home = server_in(tmp_path / "triton")
    assert triton.find_triton({triton.HOME_ENV: str(home)}) == home


def test_a_home_without_a_server_is_refused_by_name(tmp_path):
    with pytest.raises(TritonNotFound, match=f"{triton.HOME_ENV}={tmp_path}"):
        triton.find_triton({triton.HOME_ENV: str(tmp_path)})


def test_otherwise_it_is_looked_for_in_the_cache_by_version(tmp_path):
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    assert triton.find_triton(environ) is None
    cached = triton.cache_folder(environ)
    assert triton.VERSION in cached.name
    home = server_in(triton.triton_home(cached))
    assert triton.find_triton(environ) == home


def test_every_port_is_on_loopback_and_ports_can_be_chosen(tmp_path):
    command = triton.triton_command(tmp_path, tmp_path / "repo", triton.Ports(1, 2, 3), 60.0)
    for kind, port in (("http", 1), ("grpc", 2), ("metrics", 3)):
        assert f"--{kind}-address=127.0.0.1" in command
        assert f"--{kind}-port={port}" in command
    assert "--disable-auto-complete-config" in command
    assert "--exit-on-error=true" in command
    assert "--exit-timeout-secs=60" in command


def test_the_stub_finds_this_python_and_its_library():
    environ = triton.triton_environment({"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/lib"})
    assert environ["PATH"].split(":") == [str(Path(sys.executable).parent), "/usr/bin"]
    assert environ["LD_LIBRARY_PATH"].endswith(":/opt/lib")


def test_numpy_two_is_refused_with_what_to_do(monkeypatch):
    triton.check_numpy()
    monkeypatch.setattr(numpy, "__version__", "2.1.0")
    with pytest.raises(UnsupportedRuntime, match=r"numpy 2\.1\.0.*install 'numpy<2'"):
        triton.check_numpy()


def test_an_installation_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(triton, "VERSION", "0.0.0.nowhere")
    with pytest.raises(ServingError, match=triton.HOME_ENV):
        triton.install_triton(tmp_path / "triton", lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_child_that_ignores_sigterm_is_killed_with_all_its_children(tmp_path):
    script = "trap '' TERM; sleep 100 & echo deaf; sleep 100; sleep 100"
    child = Child("stubborn", ["bash", "-c", script], {"PATH": "/usr/bin:/bin"}, tmp_path / "log")
    while "deaf" not in child.last_words():
        assert child.running
    child.stop(0.2)
    assert not child.running
    assert child.returncode == -9
