"""What can go wrong, said so that the reader knows what to do next."""

from __future__ import annotations


class ClusterError(Exception):
    """Something the user can act on: printed without a traceback, exit status 1."""

    exit_status = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  → {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class Unfit(ClusterError):
    """What this machine is, or lacks, keeps a cluster from running on it."""

    exit_status = 3
