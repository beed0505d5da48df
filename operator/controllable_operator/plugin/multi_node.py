"""`multi-node`: the manifests of a model whose replicas span the nodes of an NVLink clique, to look at."""

from typing import Any

from controllable_operator.api import ControllableModel
from controllable_operator.desired.multi_node import multi_node
from controllable_operator.errors import InvalidSpec
from controllable_operator.placement import Gpus
from controllable_operator.placement.group import group
from controllable_operator.placement.placed import Placed, place
from controllable_operator.placement.plan import NVLINK_LEVELS
from controllable_operator.plugin.errors import NotApplicable
from controllable_operator.settings import Settings

Manifest = dict[str, Any]

WARNING = (
    "note: nothing is applied, and running these is not tested on GPUs: vLLM shares the model among the "
    "nodes of a group, so the runtime image has to have vLLM, and spec.serving.engine must not be native"
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
        raise NotApplicable(
            "what GPUs there are is not known: ask for the right to list nodes, resourceslices and "
            "deviceclasses"
        )
    if not gpus.multi_node:
        raise NotApplicable(
            "ComputeDomain and LeaderWorkerSet are not both served here: install NVIDIA's DRA driver and LWS"
        )
    try:
        model = ControllableModel.parse(manifest)
        placed = place(model, gpus)
        if placed is None or model.spec.gpu.nvlink == "none":
            raise NotApplicable("replicas without NVLink do not span nodes: set spec.gpu.nvlink")
        if why := _fits_one_node(model, placed, gpus):
            raise NotApplicable(f"a replica fits one node ({why}): nothing to do")
        whole = [item for item in gpus.nodes if not item.shared]
        shared = group(placed.ask.count, placed.ask.fitting(whole))
        if shared is None:
            raise NotApplicable(
                f"no clique of nodes has {placed.ask.count} such GPUs, as many on each node ({gpus.told()}): "
                f"ask for fewer"
            )
        items = multi_node(model, Settings(runtime_image=runtime_image), placed, shared)
    except InvalidSpec as error:
        raise NotApplicable(f"{error} (or --runtime-image)") from error
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _fits_one_node(model: ControllableModel, placed: Placed, gpus: Gpus) -> str | None:
    """Why a replica needs one node only, None where it does not fit there.

    What the operator found out comes first: it knows the attribute that an administrator named to it.
    """
    told = model.status.placement if model.status.observed_generation == model.metadata.generation else None
    found = told or placed.placement
    fits = found.level in NVLINK_LEVELS and found.level != "NVLinkClique"
    return found.reason if fits and not gpus.silent else None
