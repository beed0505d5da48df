"""The document for a terminal: a line for each node, a line for each model. Pure."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from controllable_operator.plugin.gpu_map.words import asks, colours, connection, got, split, summary
from controllable_operator.plugin.view import STYLES, FittingTable, Mark, section

Manifest = dict[str, Any]

_BRACKETS = {"PCIeRoot": "()"}
_KEY = "[ ] NVLink connects these   ( ) one PCIe root   · free   # another pod's   ! split: no NVLink between"


def render(document: Manifest) -> RenderableType:
    """Nodes with their GPUs, each with the tag of the replica that has it, and what models asked for."""
    if not document["nodes"]:
        return Text("no GPUs in this cluster; what would tell of them: kubectl controllable capabilities")
    shades, apart = colours(document), split(document)
    width = max((len(gpu["tag"] or "") for node in document["nodes"] for gpu in node["gpus"]), default=1) or 1
    nodes = [
        (node["name"], _gpus(node, shades, apart, width), node["product"], connection(node))
        for node in document["nodes"]
    ]
    models = [
        (
            Mark(model["health"]),
            Text(f" {model['key']} ", style=_on(shades[model["key"]])),
            f"{model['namespace']}/{model['name']}",
            asks(model),
            Text(got(model), style=STYLES[model["health"]]),
            model["message"],
        )
        for model in document["models"]
    ]
    return Group(
        FittingTable(("NODE", "GPUS", "PRODUCT", "CONNECTED BY"), nodes, "CONNECTED BY"),
        Text(f"\n{_KEY}\n", style="dim"),
        FittingTable(("", "KEY", "MODEL", "ASKS", "REPLICAS", "WRONG"), models, "WRONG"),
        section(summary(document)),
    )


def _gpus(node: Manifest, shades: dict[str, str], apart: set[str], width: int) -> Text:
    text = Text()
    for position, gpu in enumerate(node["gpus"]):
        frames = [frame for frame in node["frames"] if frame["first"] == position]
        text.append("".join(_brackets(frame)[0] for frame in frames), style="dim")
        tag = gpu["tag"]
        if tag is None:
            text.append(f" {'·':<{width}}", style="dim")
        else:
            mark = "!" if tag in apart else " "
            text.append(f"{mark}{tag or '#':<{width}}", style=_on(shades[tag]))
        ends = [frame for frame in node["frames"] if frame["first"] + frame["gpus"] - 1 == position]
        text.append("".join(_brackets(frame)[1] for frame in ends), style="dim")
    return text


def _brackets(frame: Manifest) -> str:
    return _BRACKETS.get(frame["kind"], "[]")


def _on(shade: str) -> str:
    return f"#101318 on {shade}"
