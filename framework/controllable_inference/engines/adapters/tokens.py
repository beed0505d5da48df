"""Rows for tokens that a model was trained without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

INPUT, OUTPUT = "embed_tokens", "lm_head"


@torch.no_grad()
def add_rows(
    model: Any, known: Sequence[int], new: Sequence[int], trained: Mapping[str, Tensor] | None = None
) -> None:
    """Give the model tokens with the ids `new`; `known` are those of its own.

    A new row, of embedding and head alike, is the mean of all rows known. Its logit is then the mean of
    theirs, and its probability no more than one over their number (Jensen's inequality): a token that nobody
    trained is hardly ever drawn. Tied matrices stay tied. trained: rows to take instead, by matrix (INPUT,
    OUTPUT), each (new tokens, hidden size).
    """
    if not new:
        return
    ids, own = list(new), torch.tensor(known)
    means = {name: (m.weight[own].float().mean(0), _mean_bias(m, own)) for name, m in _matrices(model)}
    if max(ids) >= len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    for name, matrix in _matrices(model):  # others than before, once resized
        rows, bias = means[name]
        if trained and name in trained:
            rows = trained[name]
        matrix.weight[ids] = rows.to(matrix.weight)
        if bias is not None:
            matrix.bias[ids] = bias


def _matrices(model: Any) -> list[tuple[str, Any]]:
    """Embedding and head, by name; without the head where it is the embedding."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    return [(INPUT, embedding)] if tied else [(INPUT, embedding), (OUTPUT, head)]


def _mean_bias(matrix: Any, known: Tensor) -> Tensor | None:
    bias = getattr(matrix, "bias", None)
    return None if bias is None else bias[known].mean()
