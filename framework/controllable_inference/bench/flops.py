"""Arithmetic of a request, counted from the model's shape and each path's tokens.

A matrix product of (a, b) with (b, c) takes 2abc floating-point operations. Summed over the weight matrices
of a decoder, a token costs 2 per weight, and 2 x 2 x context x width of the heads for attention in each
layer: Kaplan et al. 2020 (arXiv:2001.08361), section 2.1 and table 1, where C_forward = 2N + 2 n_layer
n_ctx d_attn counts the scores alone; the weighted sum of values is as much again. Norms, activations,
softmax and embedding look-ups are left out, there as here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from controllable_inference.core.gate import INNER_DIM


@dataclass(frozen=True)
class ModelShape:
    """A gated-MLP decoder (Llama, Qwen2, Qwen3), as far as its arithmetic depends on it."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """config: a transformers configuration of such a model."""
        heads = config.num_attention_heads
        return cls(
            config.hidden_size,
            config.num_hidden_layers,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            config.intermediate_size,
            config.vocab_size,
        )

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's matrices: query and output, key and value, and the three of the MLP."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def per_token(self) -> int:
        """FLOPs of one token's passage through all layers, attention to the context and the head aside."""
        return 2 * self.layers * self.layer_weights

    @property
    def per_position(self) -> int:
        """FLOPs by which one token attends to one position, in all layers: score, and share of the value."""
        return 4 * self.layers * self.heads * self.head_dim

    @property
    def head(self) -> int:
        """FLOPs of the logits of one token."""
        return 2 * self.hidden * self.vocabulary


def stretch(shape: ModelShape, start: int, tokens: int) -> int:
    """FLOPs of `tokens` tokens behind `start` others, head aside; each attends to itself and all before."""
    positions = tokens * start + tokens * (tokens + 1) // 2
    return tokens * shape.per_token + positions * shape.per_position


def request(shape: ModelShape, prompt: int, paths: Sequence[int]) -> int:
    """FLOPs of one request: its prompt once, with one token's logits, then every token of every path.

    prompt: tokens of the prompt that the paths share. paths: tokens of each path. The last token of a path is
    counted though the engine never computes it: less than a hundredth, and alike for every system.
    """
    decoded = sum(stretch(shape, prompt, tokens) + tokens * shape.head for tokens in paths)
    return stretch(shape, 0, prompt) + shape.head + decoded


def gate(feature_dim: int, boundaries: int) -> int:
    """FLOPs of PathGate's two linear layers at that many step boundaries."""
    return boundaries * 2 * (feature_dim * INNER_DIM + INNER_DIM)


def linear(net: nn.Module, times: int) -> int:
    """FLOPs of a net of linear layers, as a policy is, asked that often."""
    layers = (layer for layer in net.modules() if isinstance(layer, nn.Linear))
    return times * sum(2 * layer.in_features * layer.out_features for layer in layers)


def budget(input_dim: int, hidden_dim: int, prompt: int) -> int:
    """FLOPs of BudgetPredictor's LSTM over a prompt's tokens, four gates each, and of its head."""
    return prompt * 2 * 4 * hidden_dim * (input_dim + hidden_dim) + 2 * hidden_dim
