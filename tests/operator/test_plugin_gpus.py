"""`gpus`: whose each GPU is, what connects them, and what it looks like."""

import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest
from controllable_operator.plugin import gpu_map
from controllable_operator.plugin.gpu_map.words import colour
from controllable_operator.plugin.view import emit, printable
from gpu_objects import claim, gpu_node, resource_slice
from plugin_objects import condition, model_manifest

Manifest = dict[str, Any]
BRIDGE = "example.com/island"
HOSTILE = "</title></svg><script>alert(1)</script>\"'&\x1b[2J"


def model(name: str, count: int = 2, nvlink: str = "required", **gpu: Any) -> Manifest:
    found = model_manifest(name, condition("Ready", "True", "Serving"))
    found["spec"]["gpu"] = {"count": count, "nvlink": nvlink} | gpu
    return found


def labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "controllable-model", "app.kubernetes.io/instance": name}


def pod(name: str, of: str = "", node: str = "", limit: int = 0) -> Manifest:
    limits = {"limits": {"nvidia.com/gpu": str(limit)}} if limit else {}
    spec: Manifest = {"containers": [{"name": "main", "resources": limits}]}
    meta = {"name": name, "namespace": "test", "labels": labels(of) if of else {}}
    return {"metadata": meta, "spec": spec | ({"nodeName": node} if node else {})}


def has(name: str, gpus: list[int], of: str = "", node: str = "node-1", match: str = "") -> Manifest:
    """The claim by which a pod has these GPUs."""
    found = claim(name, [f"gpu-{index}" for index in gpus], node)
    found["metadata"]["labels"] = labels(of) if of else {}
    constraint = {"requests": ["gpus"], "matchAttribute": match}
    found["spec"] = {"devices": {"constraints": [constraint] if match else []}}
    return found


def build(
    slices: list[Manifest] | None = None,
    claims: list[Manifest] | None = None,
    pods: list[Manifest] | None = None,
    models: list[Manifest] | None = None,
    nodes: list[Manifest] | None = None,
) -> Manifest:
    return gpu_map.build(nodes or [], slices or [], claims or [], pods or [], models or [])


def shown(document: Manifest) -> str:
    stream = io.StringIO()
    emit(gpu_map.render(document), stream)
    return stream.getvalue()


def tags(document: Manifest, node: int = 0) -> list[str | None]:
    return [gpu["tag"] for gpu in document["nodes"][node]["gpus"]]


def frames(document: Manifest) -> list[tuple[str, int, int]]:
    (node,) = document["nodes"]
    return [(frame["kind"], frame["first"], frame["gpus"]) for frame in node["frames"]]


# --- what connects GPUs -------------------------------------------------------------------------------------


def test_nvswitch_connects_all_gpus_of_its_products() -> None:
    assert frames(build([resource_slice(gpus=8)])) == [("NVSwitch", 0, 8)]


def test_partitions_lie_in_larger_ones() -> None:
    board = resource_slice(gpus=4, partition4=4, partition2=2)
    assert frames(build([board])) == [("Partition", 0, 4), ("Partition", 0, 2), ("Partition", 2, 2)]


def test_an_attribute_that_a_models_claim_names_groups_nvlink_peers() -> None:
    board = resource_slice(gpus=4, product="NVIDIA A100 80GB PCIe", island=2)
    pairs = [("NVLink", 0, 2), ("NVLink", 2, 2)]
    assert frames(build([board], [has("m-0", [0, 1], of="m", match=BRIDGE)])) == pairs
    assert frames(build([board], [has("x", [0, 1], match=BRIDGE)])) == [], "what others match is not known"


def test_without_nvlink_what_is_near_is_told() -> None:
    board = resource_slice(gpus=4, product="NVIDIA L40S", pcieRoot=2)
    document = build([board])
    assert frames(document) == [("PCIeRoot", 0, 2), ("PCIeRoot", 2, 2)]
    assert "PCIe only, 2 a root" in shown(document)


def test_peers_that_are_numbered_apart_stand_together() -> None:
    board = resource_slice(gpus=4, partition2=1)
    for device, partition in zip(board["spec"]["devices"], (7, 8, 7, 8), strict=True):
        device["attributes"]["partition2"] = {"int": partition}
    document = build([board])
    assert [gpu["name"] for gpu in document["nodes"][0]["gpus"]] == ["gpu-0", "gpu-2", "gpu-1", "gpu-3"]
    assert frames(document) == [("Partition", 0, 2), ("Partition", 2, 2)]


def test_nodes_and_gpus_are_in_the_order_in_which_people_count() -> None:
    document = build([resource_slice("node-10", gpus=12), resource_slice("node-9", gpus=1)])
    assert [node["name"] for node in document["nodes"]] == ["node-9", "node-10"]
    assert [gpu["name"] for gpu in document["nodes"][1]["gpus"]][-2:] == ["gpu-10", "gpu-11"]


# --- whose they are -----------------------------------------------------------------------------------------


def test_each_replica_has_a_tag_on_its_gpus() -> None:
    claims = [has("m-0", [0, 1], of="m"), has("m-1", [4, 5], of="m"), has("other", [7])]
    pods = [pod("m-0", of="m"), pod("m-1", of="m"), pod("other")]
    document = build([resource_slice()], claims, pods, [model("m")])
    assert tags(document) == ["a1", "a1", None, None, "a2", "a2", None, ""]
    assert document["summary"] == {
        "nodes": 1,
        "gpus": 8,
        "ofModels": 4,
        "ofOthers": 1,
        "free": 3,
        "models": 1,
        "modelsWithGpus": 1,
    }


def test_models_without_gpus_are_left_out() -> None:
    assert build(models=[model_manifest("cpu")])["models"] == []


@pytest.mark.parametrize(
    ("board", "gpus", "linked"),
    [
        (resource_slice(), [1, 6], True),
        (resource_slice(partition2=2), [2, 3], True),
        (resource_slice(partition2=2), [1, 2], False),
        (resource_slice(partition4=4), [0, 1], False),  # a part of a partition
        (resource_slice(product="NVIDIA L40S", pcieRoot=2), [0, 1], False),
        (resource_slice(), [3], None),
    ],
)
def test_a_replica_is_told_split_where_nvlink_is_not_known_to_connect_it(
    board: Manifest, gpus: list[int], linked: bool | None
) -> None:
    document = build([board], [has("m-0", gpus, of="m")], [pod("m-0", of="m")], [model("m")])
    assert [replica["linked"] for replica in document["models"][0]["replicas"]] == [linked]
    assert ("!a" in shown(document)) == (linked is False)
    in_the_legend = 1
    marked = gpu_map.picture(document).count('class="apart"') - in_the_legend
    assert marked == (len(gpus) if linked is False else 0)


def test_gpus_of_a_device_plugin_are_counted_for_nobody_tells_which() -> None:
    pods = [pod("m-0", of="m", node="node-1", limit=2), pod("x", node="node-1", limit=1), pod("idle")]
    document = build(nodes=[gpu_node(gpus=4), gpu_node("cpu", 0)], pods=pods, models=[model("m")])
    assert tags(document) == ["a", "a", "", None]
    assert frames(document) == [("NVSwitch", 0, 4)]
    (replica,) = document["models"][0]["replicas"]
    assert (replica["gpus"], replica["count"], replica["linked"]) == (None, 2, True)


def test_a_node_with_both_books_is_shown_once() -> None:
    assert len(build([resource_slice()], nodes=[gpu_node()])["nodes"]) == 1


def test_who_waits_and_who_is_refused_is_told() -> None:
    refused = model("wide", 4)
    why = condition("Ready", "False", "InsufficientCapacity", "4 GPUs are asked for, and 2 are there")
    refused["status"]["conditions"] = [why]
    document = build([resource_slice()], pods=[pod("m-0", of="m")], models=[model("m"), refused])
    assert [row["waiting"] for row in document["models"]] == [["m-0"], []]
    text = shown(document)
    assert re.search(r"✔ +a +test/m +2 × GPU, NVLink required +1 waiting\n", text)
    assert re.search(r"✖ +b +test/wide .* no pods +4 GPUs are asked for, and 2 are there\n", text)
    for drawing in (gpu_map.picture(document), gpu_map.page(document)):
        assert "4 GPUs are asked for, and 2 are there" in drawing


def test_without_gpus_the_way_on_is_told() -> None:
    assert shown(build()) == (
        "no GPUs in this cluster; what would tell of them: kubectl controllable capabilities\n"
    )
    ElementTree.fromstring(gpu_map.picture(build()))


# --- what it looks like -------------------------------------------------------------------------------------


def test_the_text_is_as_a_person_reads_it() -> None:
    claims = [has("m-0", [0, 1], of="m"), has("m-1", [4, 6], of="m", node="node-1"), has("x", [7])]
    pods = [pod("m-0", of="m"), pod("m-1", of="m"), pod("x")]
    board = resource_slice(partition4=4, partition2=2)
    assert shown(build([board], claims, pods, [model("m", nvlink="preferred", product="H100")])) == (
        "NODE     GPUS                                   PRODUCT                 CONNECTED BY\n"
        "node-1   [[ a1 a1][ ·  · ]][[!a2 · ][!a2 # ]]   NVIDIA H100 80GB HBM3   "
        "Fabric Manager, partitions of 4, 2\n"
        "\n"
        "[ ] NVLink connects these   ( ) one PCIe root   · free   # another pod's   "
        "! split: no NVLink between\n"
        "\n"
        "    KEY   MODEL    ASKS                         REPLICAS                   WRONG\n"
        "✔    a    test/m   2 × H100, NVLink preferred   1 with NVLink, 1 without\n"
        "\n"
        "8 GPUs on 1 node: 1 of 1 model has 4, other pods 1, and 3 are free\n"
    )


def hostile() -> Manifest:
    found = model("m", product=HOSTILE)
    found["status"]["conditions"] = [condition("Ready", "False", "Odd", HOSTILE)]
    board = resource_slice(product=HOSTILE)
    return printable(build([board], [has("m-0", [0, 3], of="m")], [pod("m-0", of="m")], [found]))


class Page(HTMLParser):
    """Tags, and the attributes that could load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [name for name, _ in attrs if name in ("href", "src") or name.startswith("on")]


def test_the_page_needs_no_other_file_and_obeys_nobody() -> None:
    text = gpu_map.page(hostile())
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.loads == []
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("style") == page.tags.count("svg") == page.tags.count("table") == 1
    assert "default-src 'none'" in text


def test_the_picture_is_a_file_of_its_own_and_told_to_those_who_do_not_see_it() -> None:
    svg = ElementTree.fromstring(gpu_map.picture(hostile()))
    name = "{http://www.w3.org/2000/svg}"
    named = svg.attrib["aria-labelledby"].split()
    assert [svg.find(f"{name}{tag}").attrib["id"] for tag in ("title", "desc")] == named  # type: ignore[union-attr]
    titles = [found.text for found in svg.iter(f"{name}title")]
    assert "gpu-0: test/m-0" in titles
    assert "gpu-1: free" in titles


def test_each_square_lies_in_its_frame_and_each_frame_in_its_card() -> None:
    svg = ElementTree.fromstring(gpu_map.picture(build([resource_slice(partition4=4, partition2=2)])))
    name = "{http://www.w3.org/2000/svg}rect"
    boxes: dict[str, list[tuple[float, float, float, float]]] = {}
    card = next(group for group in svg if group.find(f"{name}[@class='card']") is not None)
    for rect in card.iter(name):
        x, y, width, height = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
        boxes.setdefault(rect.get("class", ""), []).append((x, y, x + width, y + height))

    def inside(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
        return outer[0] < inner[0] and outer[1] < inner[1] and inner[2] < outer[2] and inner[3] < outer[3]

    assert [sum(inside(square, frame) for frame in boxes["frame"]) for square in boxes["free"]] == [2] * 8
    assert all(inside(frame, boxes["card"][0]) for frame in boxes["frame"])


def test_models_have_colours_of_their_own_that_dark_letters_can_be_read_on() -> None:
    shades = [colour(number) for number in range(60)]
    assert len(set(shades)) == 60
    for shade in shades:
        red, green, blue = (int(shade[at : at + 2], 16) / 255 for at in (1, 3, 5))
        assert 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.27


def test_a_thousand_nodes_are_drawn_at_once() -> None:
    document = build([resource_slice(f"node-{number}") for number in range(1000)])
    assert len(shown(document).splitlines()) > 1000
    assert gpu_map.page(document).count('class="card"') == 1000
