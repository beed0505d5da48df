"""The conditions TopologySatisfied and FitsMemory. Pure."""

from collections.abc import Iterable

from controllable_operator.placement.allocated import Allocated
from controllable_operator.placement.ask import Ask
from controllable_operator.placement.capabilities import GIB, Gpus
from controllable_operator.placement.checkpoint import Checkpoint
from controllable_operator.placement.memory import Memory
from controllable_operator.placement.plan import Placement

_NAMED = 3

Verdict = tuple[bool | None, str, str]


def topology_satisfied(nvlink: str, placement: Placement, replicas: list[Allocated]) -> Verdict:
    """Whether each replica's GPUs have the interconnect that is asked for."""
    if nvlink == "none":
        return False, "NotRequested", "spec.gpu.nvlink is none"
    if placement.obstacle:
        return False, placement.obstacle.reason, placement.obstacle.message
    plan = f"{placement.mechanism}, level {placement.level}: {placement.reason}"
    without = [replica.pod for replica in replicas if replica.linked is False]
    untold = [replica.pod for replica in replicas if replica.linked is None]
    if not placement.has_nvlink or without:
        got = f"{len(without)} of {len(replicas)} replicas are without NVLink ({_some(without)}); "
        return False, "Fallback", (got if without else "") + plan
    if untold:
        kept = "which run on as they are"
        message = f"nothing tells of the GPUs of {len(untold)} of {len(replicas)} replicas"
        return None, "Unknown", f"{message} ({_some(untold)}), {kept}; {plan}"
    if replicas:
        return True, "Satisfied", f"NVLink connects the GPUs of {_all(len(replicas))}; {plan}"
    if nvlink == "required":
        return True, "Guaranteed", f"no replica starts without NVLink; {plan}"
    return None, "Pending", f"no replica has its GPUs yet; {plan}"


def fits_memory(ask: Ask, need: Memory | None, gpus: Gpus, uri: str) -> Verdict:
    """Whether weights and KV for one request of full length fit a GPU of those asked for."""
    if need is None:
        message = f"the shapes of {uri} are not known before it is fetched; the engine tells what doesn't fit"
        return None, "Unknown", message
    room = max(_sizes(ask.without_need(), gpus), default=0) or ask.memory
    if not room:
        return None, "Unknown", f"{need.told()}; nothing tells the memory of a GPU here"
    told = f"{need.told()}, of {room / GIB:.1f} GiB"
    if need.total <= room:
        return True, "Fits", told
    return (
        False,
        "TooLarge",
        f"{told}; take a GPU with more memory, a smaller precision, or fewer paths or tokens",
    )


def shareable(count: int, checkpoint: Checkpoint) -> Verdict | None:
    """The verdict FitsMemory where so many GPUs can't share the model; None where they can."""
    if count in checkpoint.shards():
        return None
    others = " or ".join(str(number) for number in checkpoint.shards())
    return (
        False,
        "Indivisible",
        f"{count} GPUs can't share {checkpoint.num_attention_heads} attention heads and "
        f"{checkpoint.num_key_value_heads} key-value heads evenly; set spec.gpu.count to {others}",
    )


def _sizes(ask: Ask, gpus: Gpus) -> Iterable[int]:
    return (item.type.memory for item in gpus.offered if ask.met_by(item))


def _some(pods: list[str]) -> str:
    """The first of their names: a condition has no room for hundreds."""
    told = ", ".join(pods[:_NAMED])
    return f"{told} and {len(pods) - _NAMED} more" if len(pods) > _NAMED else told


def _all(count: int) -> str:
    return "the one replica" if count == 1 else f"all {count} replicas"
