"""Where a replica's GPUs come from: what the cluster has, what the model needs, and the plan. Pure."""

from controllable_operator.placement.capabilities import Devices, Gpus, GpuType, Nodes
from controllable_operator.placement.inventory import inventory
from controllable_operator.placement.plan import Placement
from controllable_operator.placement.planner import plan

__all__ = ["Devices", "GpuType", "Gpus", "Nodes", "Placement", "inventory", "plan"]
