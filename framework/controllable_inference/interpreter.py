"""Another Python process with the same packages as this one."""

import os
import shutil
import sys
from pathlib import Path


def python() -> str:
    """This interpreter; in a program that embeds one, the one that it takes after."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    return shutil.which("python3") or "python3"


def environment() -> dict[str, str]:
    """This process's environment, and where it imports from."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
