"""The binaries: pinned, and built again only when something that they are built from changes."""

import re

import pytest

from dev.cluster.build import (
    JUDGES,
    MODULES,
    Module,
    build_key,
    go_version_needed,
    ldflags,
    parse_go_version,
    sources,
)

FILES = {"go.mod": b"module m", "go.sum": b"sums"}
GO = "go1.26.0 linux amd64"


def test_the_same_inputs_give_the_same_key():
    assert build_key(Module("etcd"), FILES, GO) == build_key(
        Module("etcd"), dict(reversed(FILES.items())), GO
    )


@pytest.mark.parametrize(
    "changed",
    [
        (Module("etcd", tags="x"), FILES, GO),
        (Module("etcd"), {**FILES, "go.sum": b"other sums"}, GO),
        (Module("etcd"), {**FILES, "main.go": b""}, GO),
        (Module("etcd"), FILES, "go1.26.1 linux amd64"),
        (Module("etcd"), FILES, "go1.26.0 linux arm64"),
    ],
    ids=["settings", "versions", "source", "compiler", "target"],
)
def test_each_input_is_part_of_the_key(changed):
    assert build_key(*changed) != build_key(Module("etcd"), FILES, GO)


def test_contents_that_only_move_between_files_change_the_key():
    assert build_key(Module("m"), {"a": b"xy", "b": b""}, GO) != build_key(
        Module("m"), {"a": b"x", "b": b"y"}, GO
    )


@pytest.mark.parametrize("module", [*MODULES, *JUDGES], ids=lambda module: module.name)
def test_each_module_names_its_programs_and_pins_them(module):
    files = sources(module)
    assert re.search(rb"^tool ", files["go.mod"], re.M)
    assert b"h1:" in files["go.sum"]


@pytest.mark.parametrize("module", [*MODULES, *JUDGES], ids=lambda module: module.name)
def test_no_module_names_an_address_of_a_registry(module):
    assert not any(b"://" in content for name, content in sources(module).items() if not name.endswith(".go"))


def test_kubernetes_reports_the_version_it_is_built_from():
    flags = ldflags(
        Module("kubernetes", stamps="pkg.gitVersion"), "require (\n\tk8s.io/kubernetes v1.34.4\n)"
    )
    assert "-X pkg.gitVersion=v1.34.4" in flags
    assert "gitMajor=1" in flags
    assert "gitMinor=34" in flags


def test_versions_of_go_compare_as_numbers():
    assert parse_go_version("go1.26.8") > parse_go_version("1.9")
    assert go_version_needed() >= (1, 26, 0)
