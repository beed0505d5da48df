"""How many plans the operator makes in a second, on one core: python benchmarks/placement/throughput.py.

Plans follow each other over a fleet with all kinds of GPUs, for asks that end at every row of the table; the
count of GPUs from the objects of the API server, which is done once for each change, is timed apart.
"""

import argparse
import itertools
import time
from collections import Counter

from controllable_operator.api.gpu import Gpu
from controllable_operator.placement import Gpus, inventory, plan
from controllable_operator.placement.ask import Ask

Manifest = dict[str, object]
BOARDS = (
    ("NVIDIA H100 80GB HBM3", "81559Mi", {"partition2": 2, "partition4": 4, "partition8": 8}),
    ("NVIDIA A100-SXM4-80GB", "81920Mi", {"resource.kubernetes.io/pcieRoot": 2}),
    ("NVIDIA L40S", "46068Mi", {"resource.kubernetes.io/pcieRoot": 2}),
)


def slice_of(index: int) -> Manifest:
    """One node's board of eight GPUs."""
    product, memory, groups = BOARDS[index % len(BOARDS)]
    devices = [
        {
            "name": f"gpu-{gpu}",
            "attributes": {"type": {"string": "gpu"}, "productName": {"string": product}}
            | {name: {"int": gpu // size} for name, size in groups.items()},
            "capacity": {"memory": {"value": memory}},
        }
        for gpu in range(8)
    ]
    pool = {"name": f"node-{index}", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.nvidia.com", "nodeName": f"node-{index}", "pool": pool, "devices": devices}
    return {"metadata": {"name": f"node-{index}"}, "spec": spec}


def node(index: int) -> Manifest:
    """A node of the device plugin, four GPUs in a clique."""
    labels = {"nvidia.com/gpu.product": "NVIDIA-GB200", "nvidia.com/gpu.memory": "189471"}
    labels["nvidia.com/gpu.clique"] = f"cluster.{index // 18}"
    meta = {"name": f"gb-{index}", "labels": labels}
    return {"metadata": meta, "status": {"allocatable": {"nvidia.com/gpu": "4"}}}


def fleet(nodes: int) -> tuple[Gpus, float]:
    """What so many nodes have, and the seconds it took to count."""
    slices = [slice_of(index) for index in range(nodes)]
    others = [node(index) for index in range(nodes // 4)]
    started = time.perf_counter()
    gpus = inventory(others, slices, [{"metadata": {"name": "gpu.nvidia.com"}}], multi_node=True)
    return gpus, time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 200, 1000])
    options = parser.parse_args()
    specs = [
        Gpu(count=count, nvlink=nvlink, product=product, memory=memory)
        for count in (2, 3, 4, 8, 16)
        for nvlink in ("required", "preferred")
        for product in (None, "L40S", "B200")
        for memory in (None, "80Gi")
    ]
    for nodes in options.nodes:
        gpus, counted = fleet(nodes)
        ends: Counter[str] = Counter()
        started = time.perf_counter()
        for spec in itertools.islice(itertools.cycle(specs), options.plans):
            placement = plan(Ask.of(spec), gpus)
            ends[placement.obstacle.reason if placement.obstacle else placement.level] += 1
        seconds = time.perf_counter() - started
        print(f"{nodes} nodes: counted in {1000 * counted:.1f} ms; {options.plans / seconds:,.0f} plans/s")
        print("  " + ", ".join(f"{name} {count}" for name, count in sorted(ends.items())))


if __name__ == "__main__":
    main()
