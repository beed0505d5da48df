"""Where a reasoning step ends: at a token whose text holds a delimiter, while the path still thinks."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class StepDelimiters:
    """Knows which tokens end a step: those whose text holds a delimiter, or completes one that tokens before
    them began.
    """

    def __init__(self, delimiters: Sequence[str], token_text: Callable[[int], str]) -> None:
        self.delimiters = tuple(delimiters)
        self._token_text = token_text
        self._texts: dict[int, str] = {}
        self._holds: dict[int, bool] = {}
        self._longest = max(map(len, self.delimiters))

    def ends_step(self, tokens: Sequence[int]) -> bool:
        """Whether the last of a path's tokens does."""
        newest = tokens[-1]
        holds = self._holds.get(newest)
        if holds is None:
            holds = self._holds[newest] = any(d in self._text(newest) for d in self.delimiters)
        return holds or (self._longest > 1 and self._completes(tokens))

    def _completes(self, tokens: Sequence[int]) -> bool:
        text, before = self._text(tokens[-1]), ""
        for token in reversed(tokens[-self._longest : -1]):
            if len(before) >= self._longest - 1:
                break
            before = self._text(token) + before
        # so much of what is before that a delimiter can't lie in it whole
        return any(len(d) > 1 and d in before[1 - len(d) :] + text for d in self.delimiters)

    def _text(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self._token_text(token)
        return text

    def boundaries(self, tokens: Sequence[int], think_end: int | None) -> list[int]:
        """How many tokens had been generated at the end of each step of a whole path."""
        found = []
        for n, token in enumerate(tokens, start=1):
            if token == think_end:
                break
            if self.ends_step(tokens[:n]):
                found.append(n)
        return found


def step_texts(
    tokens: Sequence[int], boundaries: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[str]:
    """What was written in each step of a whole path, given where each ended."""
    starts = [0, *boundaries]
    return [decode(tokens[start:end]) for start, end in zip(starts, boundaries, strict=False)]
