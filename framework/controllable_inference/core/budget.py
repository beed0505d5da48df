"""BudgetPredictor: how much compute does this question deserve?"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from controllable_inference.core.gate import load_weights

MAX_COEFFICIENT = 2.0


class BudgetPredictor(nn.Module):
    """LSTM -> Linear(hidden, 1) -> sigmoid x 2.0 over the prompt's final hidden states.

    The adaptive compute allocator of the article this framework follows: 1 is the normal budget.
    """

    def __init__(self, input_dim: int, hidden_dim: int = 64) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.lstm = nn.LSTM(input_dim, hidden_dim, batch_first=True)
        self.head = nn.Linear(hidden_dim, 1)

    def forward(self, hidden: Tensor, lengths: Tensor | None = None) -> Tensor:
        """hidden (batch, tokens, input_dim), right-padded to lengths (batch,) -> (batch,) in [0, 2]."""
        states, _ = self.lstm(hidden)
        if lengths is None:
            last = states[:, -1]
        else:
            last = states[torch.arange(states.shape[0], device=states.device), lengths.to(states.device) - 1]
        return torch.sigmoid(self.head(last)).squeeze(-1) * MAX_COEFFICIENT

    def save(self, path: Path) -> None:
        save_file(self.state_dict(), path)

    @classmethod
    def load(cls, path: Path, input_dim: int, hidden_dim: int) -> BudgetPredictor:
        """Raises ControlConfigError when the file is missing, of another size, or holds numbers that are
        none.
        """
        predictor = cls(input_dim, hidden_dim)
        load_weights(predictor, path, f"a budget predictor over hidden states of size {input_dim}")
        return predictor.eval()
