"""One model on several devices: tensor parallelism, a process (rank) for each device.

Rank 0 is the process that asked for it. It schedules, samples and decides as it does alone. The other ranks
do nothing but run the same steps through their share of each layer, as transformers' plan for the model cuts
it: by attention heads, and by columns and rows of the MLP. Rank 0 tells each step to them through a socket of
theirs; within a step all ranks meet in collectives, by NCCL on GPUs and by gloo on CPUs.

No rank outlives rank 0, for its socket ends with it; and no step outlives a rank, for collectives fail then.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from controllable_inference.engines.native import checkpoint
from controllable_inference.engines.native.batch import FlatBatch, StepInputs
from controllable_inference.engines.native.kv_cache import KVCache
from controllable_inference.engines.native.model_runner import ModelRunner
from controllable_inference.errors import ModelLoadError, RankLost
from controllable_inference.interpreter import environment, python

T = TypeVar("T")
Done = TypeVar("Done")

PATIENCE = timedelta(seconds=60)
"""How long a rank waits for the others within a step. They have the same work, and begin it together."""
GOODBYE = 5.0
"""Seconds that ranks have to end by themselves."""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Ranks are on one machine, and open no port to others."""


@dataclass(frozen=True)
class Share:
    """What one rank is to load. store: the file through which ranks find each other."""

    rank: int
    ranks: int
    store: str
    folder: Path
    precision: checkpoint.Precision
    threads: int

    def load(self) -> tuple[Any, Any]:
        """Meet the other ranks, and load this one's share of the model, and the tokenizer."""
        cuda = torch.cuda.is_available()
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=dist.FileStore(self.store, self.ranks),
            rank=self.rank,
            world_size=self.ranks,
            timeout=PATIENCE,
            device_id=torch.device("cuda", self.rank) if cuda else None,
        )
        return checkpoint.load(self.folder, self.precision, ranks=self.ranks)


class Ranks:
    """All ranks of one model, as rank 0 has them. `close` ends them."""

    def __init__(self, folder: Path, precision: checkpoint.Precision, count: int) -> None:
        """Start the other ranks' processes. Raises ModelLoadError where the model can't be shared so."""
        checkpoint.check_ranks(folder, count)
        if torch.cuda.is_available() and torch.cuda.device_count() < count:
            here = torch.cuda.device_count()
            raise ModelLoadError(f"tensor_parallel {count} needs {count} GPUs, and there are {here} here")
        if dist.is_initialized():
            raise ModelLoadError("this process has a torch.distributed group already, and can't have another")
        if sys.platform == "linux":
            os.environ.update({**LOOPBACK, **os.environ})
        self.count = count
        self.lost = False
        self._scratch = tempfile.TemporaryDirectory(prefix="controllable-ranks-")
        store = str(Path(self._scratch.name) / "store")
        self._share = Share(0, count, store, folder, precision, torch.get_num_threads())
        self._others = [Other(replace(self._share, rank=rank)) for rank in range(1, count)]
        self.free_memory = 0

    def load(self) -> tuple[Any, Any]:
        """(rank 0's share of the model, tokenizer), once all have theirs. Raises ModelLoadError."""
        try:
            for other in self._others:  # only now is it that nobody waits long for another
                other.hear()
            loaded = self._share.load()
            self.free_memory = min([_free_memory(), *(other.hear() for other in self._others)])
        except (EOFError, OSError, RuntimeError) as error:
            raise ModelLoadError(f"{self._share.folder} can't be loaded by {self._who(error)}") from error
        return loaded

    def runner(self, model: nn.Module, cache: KVCache) -> ShardedRunner:
        """Give each rank a cache like this one."""
        self.tell((cache.data.shape[2], cache.block_size))
        return ShardedRunner(model, cache, self)

    def tell(self, what: object) -> None:
        message = ForkingPickler.dumps(what)
        for other in self._others:
            other.channel.send_bytes(message)

    def fail(self, error: Exception) -> RankLost:
        """End them all, as they have not come through a step together. Returns what to tell about it."""
        self.lost = True
        message = f"a step was not computed by {self._who(error)}"
        for other in self._others:
            other.process.kill()
        return RankLost(message)

    def close(self) -> None:
        """End every rank, whatever its state; a second time does nothing."""
        with contextlib.suppress(OSError):
            self.tell(None)
        if dist.is_initialized() and self._others:
            dist.destroy_process_group()
        until = time.monotonic() + GOODBYE
        for other in self._others:
            other.end(until)
        self._others = []
        self._scratch.cleanup()

    def _who(self, error: Exception) -> str:
        """Who is to blame: a rank that has ended, else it is told what went wrong here."""
        until = time.monotonic() + 1.0  # a connection breaks a moment before its process is seen to end
        while time.monotonic() < until:
            for rank, other in enumerate(self._others, 1):
                if (status := other.process.poll()) is not None:
                    how = (
                        f"signal {-status}"
                        if status < 0
                        else f"exit status {status} (its traceback is on stderr)"
                    )
                    return f"rank {rank} of {self.count} (process {other.process.pid}), ended by {how}"
            time.sleep(0.02)
        return f"all {self.count} ranks: {error}"


class Other:
    """The process of another rank than 0."""

    def __init__(self, share: Share) -> None:
        ours, theirs = socket.socketpair()
        # An interpreter of its own, and not one of multiprocessing's: these run the caller's main module.
        code = f"from {__name__} import work; work({theirs.fileno()})"
        self.process = subprocess.Popen(
            [python(), "-P", "-c", code],
            pass_fds=[theirs.fileno()],
            env={**environment(), "LOCAL_RANK": str(share.rank)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for rank 0, which may want to finish what it has
        )
        theirs.close()
        # One that hangs reads nothing any more, and a step may be more than a socket holds.
        ours.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(PATIENCE.total_seconds()), 0)
        )
        self.channel: Connection[Any, Any] = Connection(ours.detach())
        self.channel.send(share)

    def hear(self) -> Any:
        return self.channel.recv()

    def end(self, until: float) -> None:
        """Wait for its end until then; thereafter bring it about."""
        try:
            self.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()


class ShardedRunner(ModelRunner):
    """Rank 0's runner: what it does, all do."""

    def __init__(self, model: nn.Module, cache: KVCache, ranks: Ranks) -> None:
        super().__init__(model, cache)
        self._ranks = ranks

    def compute(self, inputs: StepInputs) -> tuple[FlatBatch, Tensor, Tensor]:
        return self._together(super().compute, inputs)

    def clear(self, blocks: list[int]) -> None:
        self._together(super().clear, blocks)

    def _together(self, do: Callable[[T], Done], what: T) -> Done:
        """Raises RankLost: what all ranks must do together, they have not."""
        try:
            self._ranks.tell((do.__name__, what))
            return do(what)
        except Exception as error:
            raise self._ranks.fail(error) from error


def work(descriptor: int) -> None:
    """Be another rank than 0: all that its process does."""
    channel: Connection[Any, Any] = Connection(descriptor)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, told), daemon=True).start()
    share = told.get()
    torch.set_num_threads(share.threads)
    channel.send("here")
    model, _ = share.load()
    channel.send(_free_memory())
    if (size := told.get()) is not None:
        blocks, block_size = size
        cache = KVCache(model.config, blocks, block_size, model.dtype, model.device, share.ranks)
        runner = ModelRunner(model, cache)
        while (step := told.get()) is not None:
            what, argument = step
            getattr(runner, what)(argument)
    dist.destroy_process_group()
    os._exit(0)  # nothing is left to be done, and an interpreter with torch takes seconds to end


def _listen(channel: Connection[Any, Any], told: queue.SimpleQueue[Any]) -> None:
    """Take in what rank 0 says; when it is gone, so is this process, be it in the middle of a collective."""
    try:
        while True:
            told.put(channel.recv())
    except (EOFError, OSError):
        os._exit(1)


def _free_memory() -> int:
    """Bytes of this rank's GPU; 0 on a CPU, whose memory all ranks have in common."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
