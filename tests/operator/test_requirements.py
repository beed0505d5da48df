"""What the operator says it works with is what it was tested with."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
REQUIREMENTS = tomllib.loads((ROOT / "operator/pyproject.toml").read_text())["project"]["dependencies"]
PINNED = {
    requirement.name: next(iter(requirement.specifier)).version
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if (text := line.partition("#")[0].strip())
    for requirement in [Requirement(text)]
}


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_the_oldest_version_allowed_is_of_the_line_that_was_tested(text: str) -> None:
    requirement = Requirement(text)
    (oldest,) = (Version(bound.version).release for bound in requirement.specifier if bound.operator == ">=")
    assert Version(PINNED[requirement.name]).release[: len(oldest)] == oldest
