"""Files of others, from Go modules: Go downloads, checks and caches them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from dev.cluster.errors import ClusterError


def downloaded(module: str, where: Path) -> dict[str, Any]:
    """What Go says of a module, downloaded if need be: its `Dir`, its hash `Sum`.

    Args:
        module: its path; with @version where no go.mod tells one.
        where: the folder whose go.mod has a say.

    Raises:
        ClusterError: it can't be had.
    """
    try:
        done = subprocess.run(
            ["go", "mod", "download", "-json", module],
            cwd=where,
            env={**os.environ, "GOFLAGS": "", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=True,
        )
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        said = getattr(error, "stdout", None) or getattr(error, "stderr", None) or str(error)
        raise ClusterError(
            f"the Go module {module} can't be had: {said.strip()}",
            "try again where Go and its module proxy can be reached (python -m dev.gpus build does)",
        ) from error
    return dict(json.loads(done.stdout))
