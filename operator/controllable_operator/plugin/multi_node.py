"""`multi-node`: the manifests of a model whose replicas span the nodes of an NVLink clique, to look at."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.multi_node import multi_node
from controllable_operator.errors import InvalidSpec
from controllable_operator.placement import Gpus
from controllable_operator.placement.group import group
from controllable_operator.placement.placed import place
from controllable_operator.plugin.errors import NotApplicable
from controllable_operator.settings import Settings

Manifest = dict[str, Any]

WARNING = (
    "note: nothing is applied, and running these is not tested: this version's engine shares a replica among "
    "the GPUs of one pod, so pods of these wait for another engine"
)


def build(manifest: Manifest, gpus: Gpus | None, runtime_image: str) -> Manifest:
    """A List of the manifests.

    Args:
        manifest: the model.
        gpus: of the cluster; None where what tells of them may not be listed.
        runtime_image: of models that name none.

    Raises:
        NotApplicable: the model's replicas can't, or need not, span nodes.
    """
    if gpus is None:
        raise NotApplicable("GPUs of nodes are not known: ask for the right to list nodes")
    if not gpus.multi_node:
        raise NotApplicable(
            "ComputeDomain and LeaderWorkerSet are not both served here: install NVIDIA's DRA driver and LWS"
        )
    try:
        model = ControllableModel.parse(manifest)
        placed = place(model, gpus)
        if placed is None or model.spec.gpu.nvlink == "none":
            raise NotApplicable("replicas without NVLink do not span nodes: set spec.gpu.nvlink")
        if placed.placement.has_nvlink and placed.placement.mechanism != "ComputeDomain":
            raise NotApplicable(f"a replica fits one node ({placed.placement.reason}): nothing to do")
        shared = group(placed.ask.count, placed.ask.fitting(gpus.nodes))
        if shared is None:
            raise NotApplicable(
                f"no clique of nodes has {placed.ask.count} such GPUs, as many on each node ({gpus.told()}): "
                f"ask for fewer"
            )
        items = multi_node(model, Settings(runtime_image=runtime_image), placed, shared)
    except InvalidSpec as error:
        raise NotApplicable(f"{error} (or --runtime-image)") from error
    return {"apiVersion": "v1", "kind": "List", "items": items}
