"""New tokens for a model that was trained without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

INPUT, OUTPUT = "embed_tokens", "lm_head"


@torch.no_grad()
def add_tokens(
    model: Any, tokenizer: Any, texts: Sequence[str], trained: Mapping[str, Tensor] | None = None
) -> tuple[int, ...]:
    """Make each text one token of tokenizer and model; returns the ids of those that neither had before.

    A new row, of embedding and head alike, is the mean of all rows known before. Its logit is then the mean
    of theirs, and its probability no more than one over their number (Jensen's inequality): a token that
    nobody trained is hardly ever drawn. Tied matrices stay tied. trained: rows to take instead, by matrix
    (INPUT, OUTPUT), each (new tokens, hidden size).
    """
    vocabulary = tokenizer.get_vocab()
    new = [text for text in texts if text not in vocabulary]
    known = torch.tensor(sorted(vocabulary.values()))
    tokenizer.add_tokens(list(texts), special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(new)
    if not ids:
        return ()
    means = {name: (m.weight[known].float().mean(0), _mean_bias(m, known)) for name, m in _matrices(model)}
    if max(ids) >= len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    for name, matrix in _matrices(model):  # others than before, once resized
        rows, bias = means[name]
        if trained and name in trained:
            rows = trained[name]
        matrix.weight[ids] = rows.to(matrix.weight)
        if bias is not None:
            matrix.bias[ids] = bias
    return tuple(ids)


def _matrices(model: Any) -> list[tuple[str, Any]]:
    """Embedding and head, by name; without the head where it is the embedding."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    return [(INPUT, embedding)] if tied else [(INPUT, embedding), (OUTPUT, head)]


def _mean_bias(matrix: Any, known: Tensor) -> Tensor | None:
    bias = getattr(matrix, "bias", None)
    return None if bias is None else bias[known].mean()
