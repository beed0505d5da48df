"""The command `controllable-inference`. Heavy modules are imported by the commands that need them."""

import os
import sys

from controllable_inference.cli import evaluate, model, serving, train
from controllable_inference.cli.application import app, say
from controllable_inference.errors import ControllableError

__all__ = ["app", "evaluate", "main", "model", "serving", "train"]


def main() -> None:
    """Run the command; what goes wrong on purpose is one line and exit status 1, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(0)  # the reader has left; there is nobody to tell
    except (ControllableError, OSError) as error:  # the latter where a file named can't be read or made
        say(f"error: {error}")
        sys.exit(1)
