"""The shapes of a checkpoint's tensors, from its config.json; and the checkpoints that are known."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import gcd, prod
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]

KNOWN_FILE = Path(__file__).parent / "checkpoints.json"


@dataclass(frozen=True)
class Checkpoint:
    """A decoder of the Llama or Qwen2 family, as far as memory goes; fields as in its config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool
    attention_bias: bool
    max_position_embeddings: int
    dtype: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Checkpoint":
        """The checkpoint with this config.json.

        Raises:
            ValueError: it is of a family whose tensors are not known here.
        """
        family = config.get("model_type")
        if family not in {"llama", "qwen2"}:
            raise ValueError(f"model_type {family!r}: the shapes of llama and qwen2 are known, and no others")
        heads = config["num_attention_heads"]
        return cls(
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab_size=config["vocab_size"],
            tie_word_embeddings=config.get("tie_word_embeddings", False),
            attention_bias=config.get("attention_bias", family == "qwen2"),
            max_position_embeddings=config["max_position_embeddings"],
            dtype=config.get("dtype") or config.get("torch_dtype") or "float32",
        )

    def tensors(self) -> Iterator[tuple[str, Shape]]:
        """Names and shapes of all tensors, as they stand in the headers of the safetensors files."""
        hidden, keys = self.hidden_size, self.num_key_value_heads * self.head_dim
        queries, inner = self.num_attention_heads * self.head_dim, self.intermediate_size
        yield "model.embed_tokens.weight", (self.vocab_size, hidden)
        for layer in range(self.num_hidden_layers):
            prefix = f"model.layers.{layer}"
            for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
                yield f"{prefix}.self_attn.{name}.weight", (rows, hidden)
                if self.attention_bias:
                    yield f"{prefix}.self_attn.{name}.bias", (rows,)
            yield f"{prefix}.self_attn.o_proj.weight", (hidden, queries)
            yield f"{prefix}.mlp.gate_proj.weight", (inner, hidden)
            yield f"{prefix}.mlp.up_proj.weight", (inner, hidden)
            yield f"{prefix}.mlp.down_proj.weight", (hidden, inner)
            yield f"{prefix}.input_layernorm.weight", (hidden,)
            yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
        yield "model.norm.weight", (hidden,)
        if not self.tie_word_embeddings:
            yield "lm_head.weight", (self.vocab_size, hidden)

    def parameters(self, shards: int = 1) -> int:
        """How many numbers one of `shards` GPUs holds: norms in full, of all else its share."""
        return sum(
            -(-prod(shape) // (1 if name.endswith("norm.weight") else shards))
            for name, shape in self.tensors()
        )

    def shards(self) -> list[int]:
        """By how many GPUs it can be shared: each gets as many heads as any other."""
        heads = gcd(self.num_attention_heads, self.num_key_value_heads)
        return [count for count in range(1, heads + 1) if heads % count == 0]


@cache
def known() -> dict[str, Checkpoint]:
    """Checkpoints of public repositories by the lower-case name of the repository."""
    return {
        repository.lower(): Checkpoint.of(entry["config"])
        for entry in json.loads(KNOWN_FILE.read_text())
        for repository in entry["repositories"]
    }


def of_uri(uri: str) -> Checkpoint | None:
    """The checkpoint that hf://organisation/repository names, None where it is not known."""
    scheme, _, repository = uri.partition("://")
    return known().get(repository.lower()) if scheme == "hf" else None
