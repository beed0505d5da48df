"""`kubectl controllable`: what a person asks about models. Reads only, and is no part of the operator."""

import importlib.util
import sys


def main() -> int:
    """Entry point of the command `kubectl-controllable`."""
    if importlib.util.find_spec("rich") is None:
        print("error: rich is missing; pip install rich", file=sys.stderr)
        return 1
    from controllable_operator.plugin.cli import main as run

    return run()
