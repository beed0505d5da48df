"""Nodes, ResourceSlices and ResourceClaims with GPUs, as NVIDIA's drivers and labellers make them."""

from typing import Any

Manifest = dict[str, Any]
DEVICE_CLASS: Manifest = {"metadata": {"name": "gpu.nvidia.com"}}


def resource_slice(
    node: str = "node-1",
    gpus: int = 8,
    product: str = "NVIDIA H100 80GB HBM3",
    memory: str = "81559Mi",
    architecture: str = "Hopper",
    generation: int = 1,
    **groups: int,
) -> Manifest:
    """A board; `groups` are attributes and how many GPUs in a row share a value: partition2=2."""
    devices = []
    for index in range(gpus):
        attributes: Manifest = {
            "type": {"string": "gpu"},
            "productName": {"string": product},
            "architecture": {"string": architecture},
        }
        for name, size in groups.items():
            full = {
                "pcieRoot": "resource.kubernetes.io/pcieRoot",
                "numaNode": "resource.kubernetes.io/numaNode",
                "island": "example.com/island",
            }.get(name, name)
            attributes[full] = {"int": index // size}
        devices.append(
            {
                "name": f"gpu-{index}",
                "attributes": attributes,
                "capacity": {"memory": {"value": memory}},
            }
        )
    return {
        "metadata": {"name": f"{node}-gpu"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": node,
            "pool": {"name": node, "generation": generation, "resourceSliceCount": 1},
            "devices": devices,
        },
    }


def gpu_node(
    name: str = "node-1",
    gpus: int = 8,
    product: str = "NVIDIA-H100-80GB-HBM3",
    memory: str = "81559",
    clique: str = "",
    sharing: str = "",
) -> Manifest:
    """A node of the device plugin; without a product it has no labels, as without GPU Feature Discovery.

    A product with -MIG- in it: its GPUs are instances, as by the MIG strategy `single`.
    """
    labels = {"nvidia.com/gpu.clique": clique, "nvidia.com/gpu.sharing-strategy": sharing}
    if "-MIG-" in product:
        labels["nvidia.com/gpu.slices.gi"] = "1"
    if product:
        labels |= {
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.count": str(gpus),
            "nvidia.com/gpu.memory": memory,
            "nvidia.com/gpu.family": "hopper",
        }
    return {
        "metadata": {"name": name, "labels": {key: value for key, value in labels.items() if value}},
        "status": {"allocatable": {"cpu": "64", "nvidia.com/gpu": str(gpus)} if gpus else {"cpu": "64"}},
    }


def claim(pod: str, devices: list[str], node: str = "node-1", request: str = "gpus") -> Manifest:
    """An allocated claim of a pod."""
    results = [
        {"request": request, "driver": "gpu.nvidia.com", "pool": node, "device": device} for device in devices
    ]
    return {
        "metadata": {"name": f"{pod}-gpus-abc", "namespace": "test"},
        "status": {
            "allocation": {"devices": {"results": results}},
            "reservedFor": [{"resource": "pods", "name": pod, "uid": pod}],
        },
    }
