"""Where a reasoning step ends: at a token whose text holds a delimiter, while the path still thinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class StepDelimiters:
    """Knows which tokens end a step. A delimiter counts when it lies within one token."""

    def __init__(self, delimiters: Sequence[str], token_text: Callable[[int], str]) -> None:
        self.delimiters = tuple(delimiters)
        self._token_text = token_text
        self._known: dict[int, bool] = {}

    def ends_step(self, token: int) -> bool:
        known = self._known.get(token)
        if known is None:
            text = self._token_text(token)
            known = self._known[token] = any(d in text for d in self.delimiters)
        return known

    def boundaries(self, tokens: Sequence[int], think_end: int | None) -> list[int]:
        """How many tokens had been generated at the end of each step of a whole path."""
        found = []
        for n, token in enumerate(tokens, start=1):
            if token == think_end:
                break
            if self.ends_step(token):
                found.append(n)
        return found


def step_texts(
    tokens: Sequence[int], boundaries: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[str]:
    """What was written in each step of a whole path, given where each ended."""
    starts = [0, *boundaries]
    return [decode(tokens[start:end]) for start, end in zip(starts, boundaries, strict=False)]
