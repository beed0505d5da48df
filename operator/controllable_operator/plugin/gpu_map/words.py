"""What text and pictures have in common: words for what was asked for and got, colours of models. Pure."""

import colorsys
from typing import Any

from controllable_operator.plugin.view import count

Manifest = dict[str, Any]

_GOLDEN = 0.618034  # of a turn: each new hue is far from those before
_LIGHTNESS = (0.66, 0.8, 0.5)
_LEAST = 0.3  # luminance of a ground for dark letters: a contrast of 6 to 1

CONNECTION = {
    "NVSwitch": "NVSwitch",
    "NVLink": "NVLink, groups of {}",
    "Partition": "Fabric Manager, partitions of {}",
    "PCIeRoot": "PCIe only, {} a root",
}


def colour(number: int) -> str:
    """Of the model with this number, light enough for dark letters: #rrggbb."""
    hue = (0.58 + number * _GOLDEN) % 1
    lightness = _LIGHTNESS[number % len(_LIGHTNESS)]
    while _luminance(shade := colorsys.hls_to_rgb(hue, lightness, 0.68)) < _LEAST:
        lightness += 0.02
    return "#" + "".join(f"{round(255 * part):02x}" for part in shade)


def colours(document: Manifest) -> dict[str, str]:
    """Of all tags that GPUs may have."""
    found = {"": "#9aa3b2"}
    for number, model in enumerate(document["models"]):
        shade = colour(number)
        found |= dict.fromkeys([model["key"], *(replica["tag"] for replica in model["replicas"])], shade)
    return found


def connection(node: Manifest) -> str:
    """What connects a node's GPUs."""
    if not node["frames"]:
        return "nothing that is told"
    kind = node["frames"][0]["kind"]
    sizes = sorted({frame["gpus"] for frame in node["frames"]}, reverse=True)
    return CONNECTION[kind].format(", ".join(map(str, sizes)))


def asks(model: Manifest) -> str:
    """What each replica of a model is to have."""
    asked = model["asks"]
    parts = [f"{asked['count']} × {asked['product'] or 'GPU'}"]
    parts += [str(asked[key]) for key in ("architecture", "memory") if asked[key]]
    if asked["nvlink"] not in (None, "none"):
        parts.append(f"NVLink {asked['nvlink']}")
    return ", ".join(parts)


def got(model: Manifest) -> str:
    """What the replicas of a model have."""
    linked = [replica["linked"] for replica in model["replicas"]]
    counts = (
        (linked.count(True), "with NVLink"),
        (linked.count(False), "without"),
        (linked.count(None), "of one GPU"),
        (len(model["waiting"]), "waiting"),
    )
    found = [f"{count} {what}" for count, what in counts if count]
    return ", ".join(found) or "no pods"


def split(document: Manifest) -> set[str]:
    """Tags of replicas with several GPUs that NVLink is not known to connect."""
    return {
        replica["tag"]
        for model in document["models"]
        for replica in model["replicas"]
        if replica["linked"] is False
    }


def summary(document: Manifest) -> str:
    """All in a sentence."""
    found = document["summary"]
    others = f", other pods {found['ofOthers']}" if found["ofOthers"] else ""
    return (
        f"{count(found['gpus'], 'GPU')} on {count(found['nodes'], 'node')}: {found['modelsWithGpus']} of "
        f"{count(found['models'], 'model')} {'has' if found['modelsWithGpus'] == 1 else 'have'} "
        f"{found['ofModels']}{others}, and {found['free']} are free"
    )


def _luminance(shade: tuple[float, float, float]) -> float:
    """Relative luminance, as WCAG defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shade]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
