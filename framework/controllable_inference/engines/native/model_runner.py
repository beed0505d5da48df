"""The only place that calls the model, and changes what its cache holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from controllable_inference.engines.native.attention import PagedBatch
from controllable_inference.engines.native.batch import FlatBatch, StepInputs, flatten
from controllable_inference.engines.native.kv_cache import KVCache


class ModelRunner:
    """Runs one flat batch through a transformers causal language model whose attention is ours."""

    def __init__(self, model: nn.Module, cache: KVCache) -> None:
        self.model = model
        self.cache = cache
        self.device = next(model.parameters()).device
        self.hidden_size: int = model.config.hidden_size  # type: ignore[union-attr, assignment]
        self._hidden: Tensor | None = None
        # The head's input is the final-norm hidden state, whatever the architecture does around it.
        model.base_model.register_forward_hook(self._keep_hidden)  # type: ignore[union-attr]

    def _keep_hidden(self, module: nn.Module, args: Any, output: Any) -> None:
        self._hidden = output.last_hidden_state[0]

    def compute(self, inputs: StepInputs) -> tuple[FlatBatch, Tensor, Tensor]:
        """The step as a batch; what `forward` makes of it."""
        self.cache.copy(inputs.copies)
        batch = flatten(inputs, self.cache)
        return batch, *self.forward(*batch)

    def clear(self, blocks: list[int]) -> None:
        """Leave zeros in these blocks."""
        self.cache.clear(blocks)

    @torch.inference_mode()
    def forward(
        self, tokens: Tensor, positions: Tensor, paged: PagedBatch, last: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """tokens, positions (tokens,); last: indices of the tokens whose logits are wanted, None for all.

        Returns logits (wanted, vocabulary) and final hidden states (tokens, hidden size).
        """
        output = self.model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=0 if last is None else last,
            paged=paged,
        )
        hidden, self._hidden = self._hidden, None
        assert hidden is not None
        return output.logits[0], hidden
