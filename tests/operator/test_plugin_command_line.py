"""The command line: help that teaches, errors in one line, a way to the cluster that says what it lacks."""

import json
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from controllable_operator.kinds import OPTIONAL_KINDS
from controllable_operator.placement import Gpus, inventory
from controllable_operator.plugin import capabilities, complete, connection, errors
from controllable_operator.plugin.cli import COMMANDS, main, parser
from controllable_operator.plugin.served import parse
from gpu_objects import gpu_node
from plugin_objects import resource

ROOT = Path(__file__).parents[2]


def forbidden(message: str) -> bytes:
    return json.dumps({"kind": "Status", "message": message, "code": 403}).encode()


def kubeconfig(folder: Path, server: str) -> str:
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize("script", ["kubectl-controllable", "kubectl_complete-controllable"])
def test_the_distribution_installs_what_kubectl_looks_for(script: str) -> None:
    scripts = tomllib.loads((ROOT / "operator/pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts[script].partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"  kubectl controllable {command}" in capsys.readouterr().out.partition("examples:")[2]


def test_watching_and_json_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fleet", "--watch", "-o", "json"])
    assert stopped.value.code == 2
    assert "--watch shows a table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], [*COMMANDS, ":4"]),
        (["s"], ["status", ":4"]),
        (["fleet", ""], [":4"]),
        (["status", "nano", ""], [":4"]),
        (["status", "-n"], [":4"]),
        (["status", ""], [":4"]),  # there is no cluster to ask
    ],
)
def test_the_shell_completes_commands(
    words: list[str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["kubectl_complete-controllable", *words])
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert complete.main() == 0
    assert capsys.readouterr().out.splitlines() == expected


def test_names_of_models_are_completed_where_one_goes() -> None:
    assert complete.wants_name(["status", "na"])
    assert complete.wants_name(["ask", "--no-think", ""])
    assert not complete.wants_name(["capabilities", ""])
    assert not complete.wants_name(["nonsense", ""])


def test_no_think_is_an_effort_of_none() -> None:
    assert parser().parse_args(["ask", "nano", "6*7?", "--no-think"]).effort == "none"


def test_without_a_kubeconfig_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--kubeconfig", str(tmp_path / "none")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: there is no usable kubeconfig")
    assert told.count("\n") == 1


def test_a_context_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kubeconfig(tmp_path, "http://127.0.0.1:1")
    assert main(["fleet", "--kubeconfig", path, "--context", "prod"]) == 1
    assert "prod" in capsys.readouterr().err


def test_an_api_server_that_is_away_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "--kubeconfig", kubeconfig(tmp_path, "http://127.0.0.1:1")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: the API server at http://127.0.0.1:1 does not answer")
    assert told.count("\n") == 1


class _LoginPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>log in</html>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_login_page_is_not_taken_for_an_api_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HTTPServer(("127.0.0.1", 0), _LoginPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}")
        assert main(["fleet", "--kubeconfig", path]) == 1
        server.shutdown()
    assert "is there a proxy or a login page in between?" in capsys.readouterr().err


def test_the_namespace_is_the_contexts(tmp_path: Path) -> None:
    assert connection.Connection.open(kubeconfig(tmp_path, "http://127.0.0.1:1")).namespace == "team-a"


def test_a_missing_right_is_told_as_a_verb_on_a_resource() -> None:
    message = (
        'controllablemodels.serving.controllable.dev is forbidden: User "eve" cannot list resource '
        '"controllablemodels" in API group "serving.controllable.dev" in the namespace "test"'
    )
    error = connection.error_for(403, forbidden(message), "/apis")
    assert isinstance(error, errors.NotAllowed)
    assert str(error) == (
        'you may not list controllablemodels.serving.controllable.dev in the namespace "test"; '
        "ask who runs the cluster for a role with verb list on controllablemodels.serving.controllable.dev "
        "(check: kubectl auth can-i list controllablemodels.serving.controllable.dev)"
    )


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (401, b'{"message": "Unauthorized"}', errors.NotAllowed),
        (404, b"404 page not found", errors.NotServed),
        (404, b'{"message": "controllablemodels \\"x\\" not found"}', errors.NotFound),
        (500, b'{"message": "etcd is away"}', errors.Refused),
    ],
)
def test_answers_become_typed_errors(status: int, content: bytes, kind: type[Exception]) -> None:
    assert type(connection.error_for(status, content, "/apis/x")) is kind


def group(name: str, version: str, *resources: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "versions": [{"version": version, "resources": list(resources)}]}


OFFER = parse(
    {
        "items": [
            group("keda.sh", "v1alpha1", resource("scaledobjects", "ScaledObject")),
            group("monitoring.coreos.com", "v1", resource("podmonitors", "PodMonitor")),
            group("custom.metrics.k8s.io", "v1beta2", resource("pods/waiting", "MetricValueList", "get")),
        ]
    }
)


def test_a_capability_is_there_if_all_that_it_needs_is_served() -> None:
    found = {row["name"]: row for row in capabilities.build(OFFER, Gpus())["capabilities"]}
    assert (found["KEDA"]["available"], found["KEDA"]["version"]) == (True, "v1alpha1")
    assert found["custom metrics"]["available"]
    assert not found["Prometheus operator"]["available"]  # no PrometheusRule
    assert not found["ControllableModel"]["available"]


@pytest.mark.parametrize(
    ("served", "version"),
    [(["v1beta1"], None), (["v1"], "v1"), (["v2", "v1"], "v1")],
    ids=["Kubernetes 1.33", "1.34", "one to come"],
)
def test_dra_is_there_in_the_version_that_the_operator_speaks(served: list[str], version: str | None) -> None:
    dra = (
        resource("resourceclaimtemplates", "ResourceClaimTemplate"),
        resource("deviceclasses", "DeviceClass"),
    )
    groups = [group("resource.k8s.io", each, *dra) for each in served]
    groups[0]["versions"] = [each for document in groups for each in document["versions"]]
    offer = parse({"items": groups[:1]})
    found = {row["name"]: row for row in capabilities.build(offer, None)["capabilities"]}
    assert (found["DRA"]["available"], found["DRA"]["version"]) == (version is not None, version)


def test_of_what_models_only_name_any_version_will_do() -> None:
    offer = parse({"items": [group("kueue.x-k8s.io", "v9", resource("localqueues", "LocalQueue"))]})
    found = {row["name"]: row for row in capabilities.build(offer, None)["capabilities"]}
    assert found["Kueue"]["version"] == "v9"


def test_every_optional_kind_that_the_operator_knows_is_a_capability() -> None:
    needed = {(kind.plural, kind.group) for each in capabilities.CAPABILITIES for kind in each.kinds}
    assert {(kind.plural, kind.group) for kind in OPTIONAL_KINDS} <= needed


def test_gpus_are_told_as_the_operator_counts_them() -> None:
    found = capabilities.build(OFFER, inventory([gpu_node(), gpu_node("node-2"), gpu_node("cpu", 0)]))["gpus"]
    assert found["told"] == "16 x NVIDIA-H100-80GB-HBM3 on 2 nodes by the device plugin (NVSwitch)"
    assert [(item["nodes"], item["total"]) for item in found["nodes"]] == [(2, 16)]
    assert capabilities.build(OFFER, None)["gpus"] is None
