"""`helm test` on the charts as they are installed, with the operator's own image."""

import subprocess

import pytest
from cluster_fixtures import Kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_helm_test_passes_and_leaves_nothing_behind(release: Kubectl) -> None:
    command = ["helm", "test", "controllable-operator", f"--namespace={release.namespace}", "--timeout=90s"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Succeeded" in result.stdout
    assert release.list("pods", "app.kubernetes.io/name=controllable-operator-test") == []
