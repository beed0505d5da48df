"""How a model is watched: what is scraped, computed, drawn and told."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from controllable_inference.engines.metrics import METRICS
from controllable_inference.serving.frontend.metrics import FrontendMetrics
from controllable_operator.api import ControllableModel
from controllable_operator.api.generate import generated_files
from controllable_operator.api.status import Status
from controllable_operator.cluster import Cluster
from controllable_operator.desired.autoscaler import signals
from controllable_operator.desired.monitoring import monitoring
from controllable_operator.kinds import POD_MONITOR, PROMETHEUS_RULE
from controllable_operator.metrics import Fleet
from controllable_operator.monitored import monitored
from prometheus_client import REGISTRY, CollectorRegistry

MakeModel = Callable[..., ControllableModel]
FLEET = next(path for path in generated_files() if path.parent.name == "alerts")
WATCHED = Cluster(frozenset({POD_MONITOR, PROMETHEUS_RULE}))
SLO = {
    "latencyP99": "1200ms",
    "pathPruningRate": {"min": "0.6", "max": "0.7"},
    "budgetUtilisation": {"min": "0.85", "max": "0.95"},
}
SCALING = {"minReplicas": 0, "maxReplicas": 3, "targets": {"kvUtilisation": 80, "latencyP99": "1s"}}


@pytest.fixture
def model(make_model: MakeModel) -> ControllableModel:
    return make_model(monitoring={"slo": SLO}, scaling=SCALING)


def by_kind(model: ControllableModel) -> dict[str, dict[str, Any]]:
    return {manifest["kind"]: manifest for manifest in monitoring(model, WATCHED)}


def groups(model: ControllableModel) -> list[dict[str, Any]]:
    return list(by_kind(model)["PrometheusRule"]["spec"]["groups"])


def alerts(model: ControllableModel) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups(model) for rule in group["rules"] if "alert" in rule}


# --- when ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "spec", "verdict"),
    [
        (WATCHED, {}, (True, "Monitored")),
        (WATCHED, {"monitoring": {"enabled": False}}, (False, "Disabled")),
        (Cluster(), {}, (False, "CRDsMissing")),
        (Cluster(frozenset({POD_MONITOR})), {}, (False, "CRDsMissing")),
    ],
)
def test_a_model_is_watched_where_that_is_wanted_and_possible(
    make_model: MakeModel, cluster: Cluster, spec: dict[str, Any], verdict: tuple[bool, str]
) -> None:
    model = make_model(**spec)
    assert monitored(model, cluster)[:2] == verdict
    assert bool(monitoring(model, cluster)) is verdict[0]


def test_it_is_told_that_the_network_policy_keeps_prometheus_out(make_model: MakeModel) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert "name Prometheus there" in monitored(make_model(), WATCHED)[2]
    open_to = make_model(networkPolicy={"allowFrom": [peer]})
    assert "name Prometheus there" not in monitored(open_to, WATCHED)[2]


# --- what is scraped ----------------------------------------------------------------------------------------


def test_each_pod_is_scraped_under_the_name_of_its_model(model: ControllableModel) -> None:
    spec = by_kind(model)["PodMonitor"]["spec"]
    assert spec["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "nano"
    assert spec["podMetricsEndpoints"][0]["port"] == "http"
    label = re.sub(r"[^a-zA-Z0-9]", "_", spec["podTargetLabels"][0])  # as Prometheus does it
    assert all(f'{label}="nano"' in signal.query for signal in signals(model))


def test_labels_for_a_prometheus_that_selects_by_them(make_model: MakeModel) -> None:
    found = by_kind(make_model(monitoring={"labels": {"release": "stack"}}))
    for kind in ("PodMonitor", "PrometheusRule"):
        assert found[kind]["metadata"]["labels"]["release"] == "stack"
        assert found[kind]["metadata"]["labels"]["app.kubernetes.io/instance"] == "nano"
    assert "release" not in found["ConfigMap"]["metadata"]["labels"]


async def exported() -> dict[str, set[str]]:
    """Labels of every metric that a pod exports, by the names of its series."""
    frontend = FrontendMetrics("http://127.0.0.1:9/metrics")  # where no Triton is
    frontend.requests.labels("/", "200").inc()
    found: dict[str, set[str]] = {}
    for line in (await frontend.text()).decode().splitlines():
        if match := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            found.setdefault(match[1], set()).update(re.findall(r"(\w+)=", match[2] or ""))
    for name, metric in METRICS.items():
        for suffix in ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",):
            found[name + suffix] = set(metric.labels) | ({"le"} if suffix == "_bucket" else set())
    return found


def exported_by_the_operator() -> dict[str, set[str]]:
    registry = CollectorRegistry()
    registry.register(Fleet(lambda: ["Failed"], lambda: {("test", "nano"): 1.0}, dict))
    families = [*registry.collect(), *REGISTRY.collect()]
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def fleet_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(FLEET.read_text())["groups"] for rule in group["rules"]]


def queries(model: ControllableModel) -> Iterator[str]:
    """All PromQL that is written anywhere."""
    for group in groups(model):
        yield from (rule["expr"] for rule in group["rules"])
    yield from (rule["expr"] for rule in fleet_rules())
    (text,) = by_kind(model)["ConfigMap"]["data"].values()
    for panel in json.loads(text)["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (signal.query for signal in signals(model))


async def test_every_query_asks_for_series_and_labels_that_pods_export(model: ControllableModel) -> None:
    series = await exported() | exported_by_the_operator()
    of_scraping = {"namespace", "app_kubernetes_io_instance"}
    asked = [
        (name, labels)
        for query in queries(model)
        for name, labels in re.findall(r"\b(controllable_\w+)(?:\{([^}]*)\})?", query)
    ]
    assert len({name for name, _ in asked}) >= 10
    for name, labels in asked:
        assert name in series, name
        assert set(re.findall(r"(\w+)=", labels)) <= series[name] | of_scraping, name


# --- what is told -------------------------------------------------------------------------------------------


def test_each_objective_is_an_alert_and_without_one_there_is_none(
    model: ControllableModel, make_model: MakeModel
) -> None:
    always = {"ControllableModelEngineDown", "ControllableModelFailing", "ControllableModelRefusing"}
    assert set(alerts(make_model())) == always
    assert set(alerts(model)) == always | {
        "ControllableModelSlow",
        "ControllableModelPathPruningRate",
        "ControllableModelBudgetUtilisation",
    }


def test_every_alert_says_whose_it_is_and_what_to_do(model: ControllableModel) -> None:
    for rule in alerts(model).values():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert (rule["labels"]["namespace"], rule["labels"]["model"]) == ("test", "nano")
        assert rule["annotations"]["summary"].startswith("test/nano: ")
        assert len(rule["annotations"]["runbook"]) > 30


def test_alerts_on_phases_name_phases_that_there_are() -> None:
    phases = re.findall(r'phase=~?"([^"]+)"', " ".join(rule["expr"] for rule in fleet_rules()))
    assert phases
    told = Status.model_fields["phase"].description or ""
    assert set("|".join(phases).split("|")) <= set(re.findall(r"\w+", told))


@pytest.fixture
def promtool(tmp_path: Path) -> Callable[..., str]:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: python -m dev.cluster build --judges")

    def run(*arguments: str) -> str:
        command = ["promtool", *arguments]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.mark.cluster  # where the judges are
def test_promtool_takes_the_rules(
    model: ControllableModel, tmp_path: Path, promtool: Callable[..., str]
) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(model)}))
    assert "SUCCESS: 9 rules found" in promtool("check", "rules", "rules.yaml")
    assert f"SUCCESS: {len(fleet_rules())} rules found" in promtool("check", "rules", str(FLEET))


@pytest.mark.cluster  # where the judges are
def test_promtool_takes_every_query_of_the_dashboard_and_the_autoscaler(
    model: ControllableModel, tmp_path: Path, promtool: Callable[..., str]
) -> None:
    rules = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(queries(model))]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", "rules.yaml")


@pytest.mark.cluster  # where the judges are
def test_promtool_sees_the_alerts_fire_when_the_objectives_are_missed(
    model: ControllableModel, make_model: MakeModel, tmp_path: Path, promtool: Callable[..., str]
) -> None:
    """Two models with the same traffic; only one of them has objectives, and misses all three."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(model)}))
    of = 'namespace="test",app_kubernetes_io_instance="nano"'
    rates = {
        'controllable_paths_total{fate="pruned",%s}': 2,
        'controllable_paths_total{fate="kept",%s}': 8,  # 20% pruned, 60% to 70% wanted
        'controllable_budget_tokens_total{kind="granted",%s}': 100,
        'controllable_budget_tokens_total{kind="used",%s}': 99,  # 99% used, at most 95% wanted
        'controllable_request_duration_seconds_bucket{le="1",%s}': 1,
        'controllable_request_duration_seconds_bucket{le="2",%s}': 10,  # p99 near 2 s, 1.2 s wanted
        'controllable_request_duration_seconds_bucket{le="+Inf",%s}': 10,
        'controllable_requests_total{outcome="completed",%s}': 10,
        'controllable_requests_total{outcome="failed",%s}': 0,
    }
    series = [{"series": name % of, "values": f"0+{rate}x200"} for name, rate in rates.items()]
    series.append({"series": f"controllable_frontend_triton_up{{{of}}}", "values": "1x200"})
    told = alerts(model)

    def firing(name: str) -> dict[str, Any]:
        return {"exp_labels": told[name]["labels"], "exp_annotations": told[name]["annotations"]}

    def at(time: str, name: str, value: str) -> dict[str, Any]:
        fires = firing(name)
        text = fires["exp_annotations"]["description"].replace("{{ $value | humanize }}", value)
        annotations = fires["exp_annotations"] | {"description": text}
        return {
            "eval_time": time,
            "alertname": name,
            "exp_alerts": [fires | {"exp_annotations": annotations}],
        }

    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "alert_rule_test": [
                    at("60m", "ControllableModelSlow", "1.989"),
                    at("60m", "ControllableModelPathPruningRate", "200m"),
                    at("60m", "ControllableModelBudgetUtilisation", "990m"),
                    {"eval_time": "60m", "alertname": "ControllableModelFailing"},
                    {"eval_time": "60m", "alertname": "ControllableModelRefusing"},
                    {"eval_time": "60m", "alertname": "ControllableModelEngineDown"},
                    {"eval_time": "10m", "alertname": "ControllableModelPathPruningRate"},
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    promtool("test", "rules", "test.yaml")


@pytest.mark.cluster  # where the judges are
def test_promtool_sees_the_operators_alerts_fire_and_rest(
    tmp_path: Path, promtool: Callable[..., str]
) -> None:
    rules = {rule["alert"]: rule for rule in fleet_rules()}

    def fires(name: str, value: str = "1", **labels: str) -> dict[str, Any]:
        told = json.dumps(rules[name]["annotations"]).replace("{{ $value }}", value)
        for label, word in labels.items():
            told = told.replace("{{ $labels." + label + " }}", word)
        alert = {"exp_labels": rules[name]["labels"] | labels, "exp_annotations": json.loads(told)}
        return {"eval_time": "90m", "alertname": name, "exp_alerts": [alert]}

    def rests(name: str) -> dict[str, Any]:
        return {"eval_time": "90m", "alertname": name}

    def case(series: dict[str, str], *expected: dict[str, Any]) -> dict[str, Any]:
        given = [{"series": f"controllable_operator_{name}", "values": v} for name, v in series.items()]
        return {"interval": "1m", "input_series": given, "alert_rule_test": list(expected)}

    seen = 'last_success_timestamp_seconds{namespace="test",name="%s",pod="%s"}'
    well = {
        'leader{pod="a"}': "1x100",
        'leader{pod="b"}': "0x100",
        'models{phase="Ready",pod="a"}': "2x100",
        seen % ("nano", "a"): "0+60x100",
        seen % ("nano", "b"): "0x100",  # it led before
    }
    ill = {
        'leader{pod="a"}': "0x100",
        'leader{pod="b"}': "0x100",
        **{f'models{{phase="Failed",pod="{pod}"}}': "3x100" for pod in "ab"},
        'models{phase="Pending",pod="a"}': "2x100",
        seen % ("nano", "a"): "0x100",
        seen % ("nano", "b"): "60x100",
        seen % ("tiny", "a"): "0+60x100",
    }
    tests = [
        case(well, *map(rests, rules)),
        case({}, fires("ControllableOperatorWithoutLeader")),
        case(
            ill,
            fires("ControllableOperatorWithoutLeader"),
            fires("ControllableModelsFailed", "3"),
            fires("ControllableModelsNotReady", "2", phase="Pending"),
            fires("ControllableModelsNotReconciled", "1"),
        ),
    ]
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": [str(FLEET)], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", "test.yaml")


# --- what is drawn ------------------------------------------------------------------------------------------


def test_panels_neither_share_an_id_nor_a_place(model: ControllableModel) -> None:
    (text,) = by_kind(model)["ConfigMap"]["data"].values()
    panels = json.loads(text)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}
    assert len(places) == len(panels)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)


def test_objectives_are_drawn_into_their_panels(model: ControllableModel, make_model: MakeModel) -> None:
    def limits(model: ControllableModel) -> dict[str, list[float]]:
        (text,) = by_kind(model)["ConfigMap"]["data"].values()
        found = {}
        for panel in json.loads(text)["panels"]:
            steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
            found[panel["title"]] = [step["value"] for step in steps if step["value"] is not None]
        return {title: values for title, values in found.items() if values}

    assert limits(model) == {"Latency": [1.2], "Paths pruned": [0.6, 0.7], "Budget used": [0.85, 0.95]}
    assert limits(make_model()) == {}


def test_two_models_never_have_the_same_dashboard(make_model: MakeModel) -> None:
    def identity(name: str) -> tuple[str, str]:
        ((file, text),) = by_kind(make_model(name=name))["ConfigMap"]["data"].items()
        return file, json.loads(text)["uid"]

    assert identity("a") == identity("a")
    assert not set(identity("a")) & set(identity("b"))


def test_an_autoscaler_asks_what_the_rules_ask(model: ControllableModel) -> None:
    recorded = {rule["expr"] for rule in groups(model)[0]["rules"]}
    assert next(signal.query for signal in signals(model) if signal.name == "latencyP99") in recorded
