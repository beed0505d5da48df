"""Other ranks for the tests, quick to start: forked from a process that has loaded transformers once.

A rank of the product is an interpreter of its own, which takes seconds to load that. What it does from then
on, `tensor_parallel.work`, is the same here.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from typing import Any

MOST = 2**16  # bytes of a message: an environment, above all


class Forks:
    """The process that forks others. It ends with `close`, or with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def run(self, what: str, argument: Any, descriptor: int, env: dict[str, str]) -> Forked:
        """A process that calls this function of this module with argument and descriptor."""
        message = {"run": what, "argument": argument, "env": env}
        return Forked(self, self._answer(message, descriptor))

    def rank(self, command: list[str], *, pass_fds: list[int], env: dict[str, str], **others: Any) -> Forked:
        """Takes the place of `subprocess.Popen` in `tensor_parallel`."""
        assert "tensor_parallel import work" in command[-1]
        assert others == {"stdin": subprocess.DEVNULL, "start_new_session": True}
        return self.run("rank", None, pass_fds[0], env)

    def status(self, pid: int) -> int | None:
        """As `Popen.returncode`."""
        return self._answer({"status": pid})

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def _answer(self, message: dict[str, Any], *descriptors: int) -> Any:
        socket.send_fds(self._socket, [json.dumps(message).encode()], descriptors)
        return json.loads(self._socket.recv(MOST))


class Forked:
    """What `subprocess.Popen` is of a process that was forked."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid = pid
        self._forks = forks
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            self._status = self._forks.status(self.pid)
        return self._status

    def wait(self, timeout: float = 60) -> None:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            time.sleep(0.01)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def serve(descriptor: int) -> None:
    """Fork who is asked for, and tell what became of them; with one thread, as a fork takes no other."""
    from controllable_inference.engines.native import tensor_parallel  # noqa: F401

    with socket.socket(fileno=descriptor) as asked:
        while True:
            message, descriptors, _, _ = socket.recv_fds(asked, MOST, 1)
            if not message:
                return
            request = json.loads(message)
            if pid := request.get("status"):
                ended, status = os.waitpid(pid, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if ended else None
            elif not (answer := os.fork()):
                asked.close()
                _be(request, descriptors[0])
            else:
                os.close(descriptors[0])
            asked.send(json.dumps(answer).encode())


def _be(request: dict[str, Any], descriptor: int) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(request["env"])
    try:
        globals()[request["run"]](request["argument"], descriptor)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def rank(_: None, descriptor: int) -> None:
    from controllable_inference.engines.native.tensor_parallel import work

    work(descriptor)


def rank0(folder: str, descriptor: int) -> None:
    """Answer for ever with a model on two ranks, and write down in the middle of it who the other is."""
    from test_tensor_parallel_failures import load
    from tiny_engines import other_ranks

    model = load(folder, 2)  # type: ignore[arg-type]
    for answer in itertools.count():
        for at, _ in enumerate(model.stream("1+2=", seed=1)):
            if (answer, at) == (0, 5):
                os.write(descriptor, str(other_ranks()[0].pid).encode())
