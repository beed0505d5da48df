"""What is asked of a GPU, in the two languages that there are for it: CEL for DRA, node affinity else.

Both follow from the spec alone. If they named what the cluster has at the moment, a new node would change the
pod template, and so restart the model.
"""

import re
from collections.abc import Iterable
from typing import Any

from controllable_operator.placement.ask import Ask
from controllable_operator.placement.groups import DRIVER, PARTITIONS, bare, is_switched, switched_products
from controllable_operator.placement.node_labels import (
    CLIQUE,
    FAMILY,
    INSTANCES,
    MEMORY,
    PRODUCT,
    SHARED,
    SHARING,
    product_values,
    switched_values,
)
from controllable_operator.placement.plan import Placement

_ATTRIBUTES = f'device.attributes["{DRIVER}"]'
_CAPACITY = f'device.capacity["{DRIVER}"]'
_MIB = 2**20

Term = list[dict[str, Any]]


def device_selectors(ask: Ask, placement: Placement) -> list[str]:
    """CEL expressions that a device has to meet. One that fails would end the search for devices, so each
    looks first whether a device has what it asks about."""
    found = []
    if ask.product:
        found.append(_named([ask.product]))
    elif placement.level == "NVSwitchNode":
        found.append(_named(switched_products()))
    if placement.gpus > 1 and placement.level != "NVLinkPartition":
        # Of a partitioned board, several GPUs are had as one whole partition, or not at all.
        parts = " || ".join(f'"{name.partition("/")[2]}" in {_ATTRIBUTES}' for name in PARTITIONS.values())
        found.append(f"!({parts})")
    if ask.architecture:
        found.append(f'"architecture" in {_ATTRIBUTES} && {_ATTRIBUTES}.architecture == "{ask.architecture}"')
    if least := max(ask.memory, ask.need):
        found.append(f'"memory" in {_CAPACITY} && {_CAPACITY}.memory.compareTo(quantity("{least}")) >= 0')
    return found


def node_terms(ask: Ask, placement: Placement) -> list[Term]:
    """Node selector terms, any of which a node has to meet; none where every node will do."""
    always: Term = []
    if ask.product:
        always.append(_in(PRODUCT, product_values(ask.product)))
    if ask.architecture:
        always.append(_in(FAMILY, [ask.architecture.lower().replace(" ", "-")]))
    if ask.memory:
        always.append(_at_least(ask.memory))
    if ask.count > 1:
        # Several shared ones, or several instances, may be one and the same GPU.
        always.append({"key": SHARING, "operator": "NotIn", "values": list(SHARED)})
        always.append({"key": INSTANCES, "operator": "DoesNotExist"})
    if placement.level == "NVLinkClique":
        always.append({"key": CLIQUE, "operator": "Exists"})
    terms = [always]
    if ask.need > ask.memory:
        # Without the label nobody knows, and the model may well fit.
        unknown = {"key": MEMORY, "operator": "DoesNotExist"}
        terms = [[*always, _at_least(ask.need)], *([] if ask.memory else [[*always, unknown]])]
    if placement.level == "NVSwitchNode":
        terms = [[*term, switch] for term in terms for switch in _switched(ask)]
    return [term for term in terms if term]


def sparing() -> Term:
    """Nodes where a single GPU takes nothing from those who need NVLink, as far as labels tell."""
    return [
        {"key": PRODUCT, "operator": "NotIn", "values": sorted(switched_values())},
        {"key": CLIQUE, "operator": "DoesNotExist"},
    ]


def _switched(ask: Ask) -> Term:
    clique = {"key": CLIQUE, "operator": "Exists"}
    if ask.product:
        return [_in(PRODUCT, product_values(ask.product))] if is_switched(ask.product) else [clique]
    return [_in(PRODUCT, switched_values()), clique]


def _named(products: list[str] | tuple[str, ...]) -> str:
    names = "|".join(re.escape(bare(product)).replace(r"\-", "[ -]") for product in products)
    pattern = f"(?i)^(nvidia[ -])?({names})$".replace("\\", "\\\\")
    return f'"productName" in {_ATTRIBUTES} && {_ATTRIBUTES}.productName.matches("{pattern}")'


def _in(key: str, values: Iterable[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": sorted(values)}


def _at_least(memory: int) -> dict[str, Any]:
    # the label is in MiB, and there is no operator for "at least"
    return {"key": MEMORY, "operator": "Gt", "values": [str(-(-memory // _MIB) - 1)]}
