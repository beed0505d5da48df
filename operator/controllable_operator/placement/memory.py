"""How much memory a model needs of each GPU: weights, KV cache, activations. An estimate from its shapes."""

from dataclasses import dataclass

from controllable_operator.api import ControllableModel
from controllable_operator.placement.capabilities import GIB
from controllable_operator.placement.checkpoint import Checkpoint, of_uri

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# The engine's most tokens of one step (`max_step_tokens`), and the float32 logits of one row of each path.
_STEP_TOKENS = 2048
_LOGIT_BYTES = 4
# CUDA context, kernels, and what an allocator can't give out.
_RUNTIME = GIB


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU, and what they are for."""

    weights: int
    kv: int
    activations: int
    runtime: int
    precision: str
    paths: int
    tokens: int
    shards: int = 1

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.activations + self.runtime

    def told(self) -> str:
        """The sum, for people."""
        on = f" on each of {self.shards} GPUs" if self.shards > 1 else ""
        return (
            f"weights {_gib(self.weights)} ({self.precision}) + KV {_gib(self.kv)} ({self.paths} paths of "
            f"{self.tokens} tokens) + activations {_gib(self.activations)} + CUDA {_gib(self.runtime)} = "
            f"{_gib(self.total)} GiB{on}"
        )


def memory(checkpoint: Checkpoint, precision: str, paths: int, tokens: int, shards: int = 1) -> Memory:
    """What one of `shards` GPUs has to hold for one request of so many paths of so many tokens.

    Args:
        checkpoint: the model.
        precision: one of `BYTES`, or auto for the checkpoint's own.
        paths: of one request.
        tokens: of one path, its prompt included.
        shards: GPUs that share the model, tensor-parallel.
    """
    precision = checkpoint.dtype if precision == "auto" else precision
    size = BYTES[precision]
    tokens = min(tokens, checkpoint.max_position_embeddings)
    heads = -(-checkpoint.num_key_value_heads // shards)
    per_token = 2 * checkpoint.num_hidden_layers * heads * checkpoint.head_dim * size
    widest = 4 * checkpoint.hidden_size + 3 * -(-checkpoint.intermediate_size // shards)
    logits = paths * -(-checkpoint.vocab_size // shards) * _LOGIT_BYTES
    return Memory(
        weights=checkpoint.parameters(shards) * size,
        kv=paths * tokens * per_token,
        # of one layer, and a second copy of the logits in float32 while tokens are chosen
        activations=_STEP_TOKENS * widest * size + 2 * logits,
        runtime=_RUNTIME,
        precision=precision,
        paths=paths,
        tokens=tokens,
        shards=shards,
    )


_UNSAID_TOKENS = 1024
"""Of one path, where no cap is said: the engine then makes do with the memory that is left."""


def memory_of(model: ControllableModel) -> Memory | None:
    """What the model needs of each of its GPUs for one request of full length.

    None where its shapes are not known.
    """
    checkpoint, spec = of_uri(model.spec.model.uri), model.spec
    if checkpoint is None:
        return None
    budget, pruning = spec.control.compute_budget, spec.control.path_pruning
    tokens = int((budget.max_tokens or _UNSAID_TOKENS) * float(budget.max_coefficient))
    return memory(checkpoint, spec.model.precision, pruning.max_paths, max(tokens, 1), max(spec.gpu.count, 1))


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
