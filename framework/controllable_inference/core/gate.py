"""PathGate: is this reasoning path worth going on with?"""

from __future__ import annotations

from pathlib import Path
from typing import overload

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from controllable_inference.errors import ControlConfigError

INNER_DIM = 64


class PathGate(nn.Module):
    """Linear(hidden, 64) -> ReLU -> Linear(64, 1) -> Sigmoid over path embeddings.

    The dynamic path pruning gate of the article this framework follows; a path is kept where its score is
    greater than `threshold`.
    """

    def __init__(self, hidden_dim: int, threshold: float = 0.3) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.threshold = threshold
        self.net = nn.Sequential(
            nn.Linear(hidden_dim, INNER_DIM), nn.ReLU(), nn.Linear(INNER_DIM, 1), nn.Sigmoid()
        )

    @overload
    def forward(self, path_emb: Tensor) -> Tensor: ...
    @overload
    def forward(self, path_emb: Tensor, x: Tensor) -> Tensor: ...
    def forward(self, path_emb: Tensor, x: Tensor | None = None) -> Tensor:
        """path_emb (batch, num_paths, hidden) -> scores (batch, num_paths) in [0, 1].

        With x (batch, num_paths, ...): x with pruned paths set to zero, in x's shape.
        """
        scores = self.net(path_emb).squeeze(-1)
        if x is None:
            return scores
        keep = scores > self.threshold
        return x * keep.reshape(keep.shape + (1,) * (x.dim() - keep.dim())).to(x.dtype)

    def save(self, path: Path) -> None:
        save_file(self.state_dict(), path)

    @classmethod
    def load(cls, path: Path, hidden_dim: int, threshold: float = 0.3) -> PathGate:
        """Raises ControlConfigError when the file is missing, of another size, or holds numbers that are
        none.
        """
        gate = cls(hidden_dim, threshold)
        load_weights(gate, path, f"a gate over feature vectors of length {hidden_dim}")
        return gate.eval()


def load_weights(module: nn.Module, path: Path, what: str) -> None:
    """Fill `module` from the safetensors file at `path`, or say in what way the file is not `what`."""
    if not path.is_file():
        raise ControlConfigError(f"{path} is missing; control.json names it as the weights of {what}")
    try:
        module.load_state_dict(load_file(path))
    except Exception as error:
        raise ControlConfigError(f"{path} does not hold the weights of {what}: {error}") from error
    if any(not torch.isfinite(p).all() for p in module.parameters()):
        raise ControlConfigError(f"{path} holds weights that are not finite numbers; train or fetch it again")
