"""Tests of one kind (`-m triton`, `-m cluster`) without importing all others: these import torch and more.

A test is of a kind by a marker that its file names, so files without that name hold none, nor do folders of
such files.
"""

import re
from functools import cache


def pytest_ignore_collect(collection_path, config):
    """True for what can't hold a test of the one kind asked for; None leaves it to others."""
    kind = re.fullmatch(r"(\w+)( and not \w+)*", config.option.markexpr.strip())
    if kind is None or _names(collection_path, f"mark.{kind[1]}"):
        return None
    return True


@cache
def _names(path, marker):
    if path.is_dir():
        return any(_names(file, marker) for file in path.rglob("test_*.py"))
    return marker in path.read_text(encoding="utf-8")
