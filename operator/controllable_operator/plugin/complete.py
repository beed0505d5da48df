"""Completion for `kubectl controllable`, as kubectl asks its plugins for it: commands, models."""

import argparse
import sys

from controllable_operator.kinds import MODEL
from controllable_operator.plugin.cli import COMMANDS, where
from controllable_operator.plugin.connection import METADATA_ONLY, Connection
from controllable_operator.plugin.errors import PluginError

_WITHOUT_NAME = {"fleet", "gpus", "capabilities"}
_NO_FILES = ":4"


def wants_name(words: list[str]) -> bool:
    """Whether the last of `words` stands where the name of a model goes."""
    plain = [word for word in words[:-1] if not word.startswith("-")]
    return len(plain) == 1 and plain[0] in COMMANDS and plain[0] not in _WITHOUT_NAME


def main() -> int:
    """Entry point of `kubectl_complete-controllable`, which kubectl calls with the words typed so far."""
    typed = sys.argv[-1] if len(sys.argv) > 1 else ""
    try:
        options, words = where().parse_known_args(sys.argv[1:])
    except argparse.ArgumentError:
        words = []  # an option that still lacks its value
    choices = COMMANDS if len(words) == 1 else _names(options) if wants_name(words) else ()
    print(*(choice for choice in choices if choice.startswith(typed)), _NO_FILES, sep="\n")
    return 0


def _names(options: argparse.Namespace) -> list[str]:
    try:
        connection = Connection.open(options.kubeconfig, options.context)
        listed = connection.list(MODEL.path(options.namespace or connection.namespace), METADATA_ONLY)
    except PluginError:
        return []  # a shell that completes has no place for errors
    return [str(item["metadata"]["name"]) for item in listed]
