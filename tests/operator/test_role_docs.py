"""docs/install.md names every right of the operator's role, and no other."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
Rights = dict[str, set[str]]  # verbs by resource


def granted() -> Rights:
    """By the chart; its rules hold nothing that Helm fills in."""
    text = (ROOT / "charts/controllable-operator/templates/rbac.yaml").read_text()
    (rules,) = re.findall(r"^kind: ClusterRole\n.*?^rules:\n(.*?)^---", text, re.MULTILINE | re.DOTALL)
    return {resource: set(rule["verbs"]) for rule in yaml.safe_load(rules) for resource in rule["resources"]}


def documented() -> Rights:
    _, _, text = (ROOT / "docs/install.md").read_text().partition("| resources | verbs | why |\n")
    rows = [line.split(" | ") for line in text.partition("\n\n")[0].splitlines()[1:]]
    return {
        resource: set(verbs.split(", "))
        for names, verbs, _ in rows
        for resource in re.findall(r"`(.+?)`", names)
    }


def test_the_table_is_the_role() -> None:
    assert documented() == granted()
