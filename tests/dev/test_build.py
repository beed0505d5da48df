"""The binaries: pinned, and built again only when something that they are built from changes."""

import re
from dataclasses import replace

import pytest

from dev.cluster.build import (
    JUDGES,
    KWOK,
    NODE,
    Part,
    build_key,
    go_version_needed,
    ldflags,
    parse_go_version,
    sources,
)

PARTS = [*NODE, KWOK, *JUDGES]
RUNC = Part("runc", ("example.org/runc",))
FILES = {"go.mod": b"module m", "go.sum": b"sums"}
GO = "go1.26.0 linux amd64"


def test_the_same_inputs_give_the_same_key():
    assert build_key(RUNC, FILES, GO) == build_key(RUNC, dict(reversed(FILES.items())), GO)


@pytest.mark.parametrize(
    "changed",
    [
        (replace(RUNC, tags="x"), FILES, GO),
        (RUNC, {**FILES, "go.sum": b"other sums"}, GO),
        (RUNC, {**FILES, "main.go": b""}, GO),
        (RUNC, FILES, "go1.26.1 linux amd64"),
        (RUNC, FILES, "go1.26.0 linux arm64"),
    ],
    ids=["settings", "versions", "source", "compiler", "target"],
)
def test_each_input_is_part_of_the_key(changed):
    assert build_key(*changed) != build_key(RUNC, FILES, GO)


def test_contents_that_only_move_between_files_change_the_key():
    assert build_key(RUNC, {"a": b"xy", "b": b""}, GO) != build_key(RUNC, {"a": b"x", "b": b"y"}, GO)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_each_package_is_pinned_by_its_module(part):
    tools = re.search(r"^tool (?:\((.*?)^\)|(.*?)$)", sources(part)["go.mod"].decode(), re.M | re.S)
    named = (tools[1] or tools[2]).split()
    assert {package.replace("./", "controllable.dev/tools/") for package in part.packages} <= set(named)
    assert b"h1:" in sources(part)["go.sum"]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_no_module_names_an_address_of_a_registry(part):
    assert not any(b"://" in content for name, content in sources(part).items() if not name.endswith(".go"))


def test_a_part_is_built_again_when_a_package_of_its_own_changes():
    assert {"kubernetes/main.go", "coredns/main.go"} < sources(NODE[0]).keys()


def test_kubernetes_reports_the_version_it_is_built_from():
    flags = ldflags("require (\n\tk8s.io/kubernetes v1.37.2\n)")
    assert "-X k8s.io/component-base/version.gitVersion=v1.37.2" in flags
    assert "gitMajor=1" in flags
    assert "gitMinor=37" in flags


def test_versions_of_go_compare_as_numbers():
    assert parse_go_version("go1.26.8") > parse_go_version("1.9")
    assert go_version_needed() >= (1, 26, 0)
