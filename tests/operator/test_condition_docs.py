"""docs/conditions.md names the reasons that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/conditions.md").read_text()
SOURCES = ROOT / "operator/controllable_operator"


@pytest.mark.parametrize(
    "source", ["scaling.py", "monitored.py", "desired/autoscaler.py", "desired/monitoring.py"]
)
def test_every_reason_is_in_the_document(source: str) -> None:
    reasons = re.findall(r'(?:False|True|return)(?:,|) "([A-Z]\w+)",', (SOURCES / source).read_text())
    assert reasons
    assert [reason for reason in reasons if not re.search(rf"\b{reason}\b", DOCUMENT)] == []
