"""What a benchmark ran on."""

from __future__ import annotations

import platform


def processor() -> str:
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - no file, a report of the kernel
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
