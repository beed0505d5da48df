"""A node that computes its share of a model whose leader is another: no requests, no control, only workers.

Started as `python -m controllable_inference.engines.vllm.worker_node FOLDER PRECISION TENSOR_PARALLEL`, with
what the leader was given. When the leader ends, whoever started both has to end it: LeaderWorkerSet does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from controllable_inference.core.config import ControlConfig
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.vllm.model_runner import engine_args
from controllable_inference.engines.vllm.nodes import Nodes
from controllable_inference.engines.vllm.weights import without_control


def run(folder: Path, precision: str, limits: EngineLimits, tensor_parallel: int, adapters: int = 0) -> None:
    """Returns when a worker has ended. The arguments are those of the leader's `VllmRunner`."""
    nodes = Nodes.of(os.environ)
    weights = without_control(folder, ControlConfig.load(folder))
    arguments = engine_args(weights, precision, limits, tensor_parallel, adapters, nodes)
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    executor = MultiprocExecutor(arguments.create_engine_config(headless=True), monitor_workers=False)
    executor.start_worker_monitor(inline=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], EngineLimits(), int(sys.argv[3]))
