"""Kubernetes' termination message: how a container that dies tells the operator why.

The kubelet mounts a file and copies what is in it into the container's status; see
https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

ENV = "CONTROLLABLE_TERMINATION_LOG"
DEFAULT = "/dev/termination-log"
LIMIT = 4096  # bytes the kubelet reads


def write_termination_log(
    reason: str, message: str, environ: Mapping[str, str] = os.environ, **facts: str | int | None
) -> None:
    """Leave {"reason", "message"} and `facts` in the termination log, where there is one; never raises."""
    path = Path(environ.get(ENV, DEFAULT))
    if not path.is_file():
        return
    text = json.dumps({"reason": reason, "message": message, **facts})
    while len(text.encode()) > LIMIT:
        message = message[: len(message) // 2]
        text = json.dumps({"reason": reason, "message": message + "…", **facts})
    with contextlib.suppress(OSError):  # a failure to explain must not hide what is explained
        path.write_text(text)
