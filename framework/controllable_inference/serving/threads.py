"""How many threads the model process computes with.

Left to itself, torch starts one for each core of the machine, whatever part of it the container may use. But
the threads of a matrix product wait for each other, so on cores that are shared all of them wait for the one
that has none: a model with two threads on such cores was seen to be 15 times slower than with one. In a pod
the operator names the count, after the container's CPU limit or request; in any other container it is the
limit, as the kernel keeps it.

It is told by the environment, before the process starts: `torch.set_num_threads` binds the thread that calls
it, and a matrix product that is the first thing another thread does would still start them all.
"""

import math
from collections.abc import Mapping
from pathlib import Path

ENV = "OMP_NUM_THREADS"  # OpenMP's own, which torch and MKL obey
_CGROUPS = Path("/sys/fs/cgroup")


def thread_environment(environ: Mapping[str, str], cgroups: Path = _CGROUPS) -> dict[str, str]:
    """What to add to `environ`: nothing where it names a count already, or nobody limits CPU time."""
    if environ.get(ENV) or (cores := cpu_limit(cgroups)) is None:
        return {}
    return {ENV: str(max(1, math.ceil(cores)))}


def cpu_limit(cgroups: Path = _CGROUPS) -> float | None:
    """Cores' worth of CPU time that this container may use, None for no limit; cgroups version 2 or 1.

    See cpu.max in https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.cfs_quota_us in
    https://docs.kernel.org/scheduler/sched-bwc.html.
    """
    v1 = cgroups / "cpu"
    try:
        if (v2 := cgroups / "cpu.max").is_file():
            quota, period = v2.read_text().split()
        else:
            quota, period = ((v1 / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # "max" is no number: no limit
        return None
