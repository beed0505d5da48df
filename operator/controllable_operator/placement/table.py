"""What models of well-known sizes need, as the table in docs/gpu-placement.md."""

import json

from controllable_operator.placement.capabilities import GIB
from controllable_operator.placement.checkpoint import KNOWN_FILE, Checkpoint
from controllable_operator.placement.memory import memory

# One request of the longest kind: pathPruning.maxPaths paths of computeBudget.maxTokens at coefficient 2.
PATHS, TOKENS = 16, 2048
_SHARDS = (1, 2, 4, 8)
_PRECISIONS = ("bfloat16", "float32")
START, END = "<!-- table: generated, see `make generate` -->\n", "<!-- end of table -->\n"


def table() -> str:
    """Rows of Markdown: GiB of each GPU by precision and by the GPUs that share the model."""
    head = "| model | precision | weights | " + " | ".join(_heading(shards) for shards in _SHARDS) + " |\n"
    rows = [
        _row(entry["repositories"][0], Checkpoint.of(entry["config"]), precision)
        for entry in json.loads(KNOWN_FILE.read_text())
        for precision in _PRECISIONS
    ]
    return head + "|" + "---|" * (3 + len(_SHARDS)) + "\n" + "".join(rows)


def with_table(document: str) -> str:
    """The document with the table in its place."""
    before, _, rest = document.partition(START)
    return before + START + "\n" + table() + "\n" + END + rest.partition(END)[2]


def _heading(shards: int) -> str:
    return "one GPU" if shards == 1 else f"each of {shards}"


def _row(name: str, checkpoint: Checkpoint, precision: str) -> str:
    plans = [
        memory(checkpoint, precision, PATHS, TOKENS, shards) if shards in checkpoint.shards() else None
        for shards in _SHARDS
    ]
    sizes = [memory(checkpoint, precision, PATHS, TOKENS).weights, *(plan and plan.total for plan in plans)]
    cells = (f"{size / GIB:.1f}" if size else "–" for size in sizes)
    return f"| {name} | {precision} | " + " | ".join(cells) + " |\n"
