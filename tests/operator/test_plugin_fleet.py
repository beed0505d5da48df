"""`kubectl controllable fleet`: every model in a line, the broken first."""

import io
import time
from datetime import UTC, datetime

import pytest
from controllable_operator.plugin import fleet
from controllable_operator.plugin.view import emit, printable
from plugin_objects import condition, model_manifest
from rich.console import Console

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SERVING = condition("Ready", "True", "Serving", "1 of 1 pods answer")
PULLING = condition("Ready", "False", "ImagePullFailed", "image runtime:1: not found")
LOADING = condition("Ready", "False", "Progressing", "0 of 1 pods answer; the slowest one loads the model")

MODELS = [
    model_manifest("b", SERVING, readyReplicas=1, control={"pathPruningRate": "0.64", "latencyP99": "840ms"}),
    model_manifest("a", SERVING, readyReplicas=1, placement={"mechanism": "DRA", "level": "NVLinkPartition"}),
    model_manifest("c", LOADING),
    model_manifest("d", PULLING, namespace="other"),
]


def shown(models: list[dict], namespaces: bool = True) -> str:
    stream = io.StringIO()
    emit(fleet.render(fleet.build(models), NOW, namespaces), stream)
    return stream.getvalue()


def test_what_a_person_sees() -> None:
    assert shown(MODELS) == (
        "    NAMESPACE   NAME   READY             PODS   MODEL                  PRUNED   P99     PLACEMENT"
        "         AGE   WRONG\n"
        "✖   other       d      ImagePullFailed   0/1    image:///models/nano   -        -       -"
        "                 60m   image runtime:1: not found\n"
        "…   test        c      Progressing       0/1    image:///models/nano   -        -       -"
        "                 60m   0 of 1 pods answer; the slowest one loads the model\n"
        "✔   test        a      Serving           1/1    image:///models/nano   -        -       "
        "NVLinkPartition   60m\n"
        "✔   test        b      Serving           1/1    image:///models/nano   0.64     840ms   -"
        "                 60m\n"
        "\n"
        "4 models in 2 namespaces: 2 well, 1 on the way, 1 broken; 2 of 4 pods answer\n"
    )


def test_without_all_namespaces_there_is_no_column_for_them() -> None:
    assert "NAMESPACE" not in shown(MODELS[:2], namespaces=False)


@pytest.mark.parametrize(
    ("width", "gone"), [(140, set()), (110, {"PLACEMENT"}), (80, {"PLACEMENT", "MODEL"})]
)
def test_a_narrow_terminal_loses_what_can_be_spared_first(width: int, gone: set[str]) -> None:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(fleet.render(fleet.build(MODELS), NOW, True))
    header, first, *_ = captured.get().splitlines()
    assert not gone & set(header.split())
    assert {"NAMESPACE", "NAME", "READY", "PODS", "WRONG"} <= set(header.split())
    assert first.startswith("✖   other       d      ImagePullFailed   0/1")


def test_no_models_are_told_as_such() -> None:
    assert shown([], namespaces=False) == "no models in this namespace; all of them: -A\n"
    assert shown([]) == "no models in this cluster\n"


def test_a_stopped_model_wants_no_pods_and_is_well() -> None:
    stopped = model_manifest("s", condition("Ready", "True", "Suspended", "stopped on purpose"))
    stopped["spec"]["suspend"] = True
    (row,) = fleet.build([stopped])["models"]
    assert (row["health"], row["replicas"]["wanted"], row["wrong"]) == ("ok", 0, "")


def test_a_message_is_shown_as_it_is() -> None:
    odd = condition("Ready", "False", "ApiError", "webhook [red]x[/red] :boom: \x1b[2J")
    assert "webhook [red]x[/red] :boom: ␛[2J\n" in shown([printable(model_manifest("m", odd))])


def test_a_model_that_serves_but_has_something_wrong_is_told() -> None:
    scaling = condition("ScalingActive", "False", "MetricsUnavailable", "KEDA: no Prometheus")
    (row,) = fleet.build([model_manifest("s", SERVING, scaling)])["models"]
    assert (row["ready"], row["health"], row["wrong"]) == ("True", "bad", "KEDA: no Prometheus")


def test_where_there_is_no_room_for_all_the_first_are_shown_and_all_are_counted() -> None:
    stream = io.StringIO()
    emit(fleet.render(fleet.build(MODELS), NOW, True, most=1), stream)
    lines = stream.getvalue().splitlines()
    assert lines[1].split()[:3] == ["✖", "other", "d"]
    assert lines[2:] == [
        "… and 3 more",
        "4 models in 2 namespaces: 2 well, 1 on the way, 1 broken; 2 of 4 pods answer",
    ]


def test_a_thousand_models_are_drawn_at_once() -> None:
    models = [model_manifest(f"m{i}", SERVING, readyReplicas=1) for i in range(1000)]
    start = time.process_time()
    lines = shown(models).splitlines()
    assert len(lines) == 1003
    assert time.process_time() - start < 5
