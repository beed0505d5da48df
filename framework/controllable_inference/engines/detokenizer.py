"""From tokens back to text, whole or as it grows; and from a piece of text to tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CONTEXT = 4
_UNFINISHED = "\ufffd"
"""What a decoder shows for a character whose bytes are not all there yet."""


class Detokenizer:
    """Decodes tokens behind their context, for some tokenizers drop the space before a first token."""

    def __init__(self, tokenizer: Any) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._decoder = backend if backend is not None else tokenizer

    def decode(self, tokens: Sequence[int]) -> str:
        return self._decoder.decode(list(tokens), skip_special_tokens=False)

    def encode(self, text: str) -> list[int]:
        """The other way round, for text that stands within another: no token marks its beginning."""
        encoded = self._decoder.encode(text, add_special_tokens=False)
        return list(getattr(encoded, "ids", encoded))

    def token_text(self, token: int) -> str:
        return self.decode([token])

    def after(self, context: Sequence[int], tokens: Sequence[int]) -> str:
        """Text of `tokens` as the continuation of `context`."""
        context = list(context[-CONTEXT:])
        before, whole = self.decode(context), self.decode([*context, *tokens])
        return whole[len(before) :] if whole.startswith(before) else self.decode(tokens)

    def ends(self, context: Sequence[int], tokens: Sequence[int], boundaries: Sequence[int]) -> list[int]:
        """Where in `after(context, tokens)` the text of the first n tokens ends, for each n of boundaries."""
        found, length, begin = [], 0, 0
        for end in boundaries:
            before = [*context[-CONTEXT:], *tokens[max(0, begin - CONTEXT) : begin]]
            length += len(self.after(before, tokens[begin:end]))
            found.append(length)
            begin = end
        return found


class GrowingText:
    """Text of a path while tokens are added, without decoding all of it again each time."""

    def __init__(self, detokenizer: Detokenizer, context: Sequence[int]) -> None:
        self.text = ""
        self._detokenizer = detokenizer
        self._pending: list[int] = list(context[-CONTEXT:])  # decoded context, then what is not in `text` yet
        self._known = len(self._pending)
        self._taken = 0

    def advance(self, tokens: Sequence[int]) -> str:
        """Take in what is new in `tokens`, the path's tokens so far; returns all text."""
        self._pending += tokens[self._taken :]
        self._taken = len(tokens)
        before = self._detokenizer.decode(self._pending[: self._known])
        whole = self._detokenizer.decode(self._pending)
        if len(whole) > len(before) and not whole.endswith(_UNFINISHED):
            self.text += whole[len(before) :]
            self._pending = self._pending[-CONTEXT:]
            self._known = len(self._pending)
        return self.text
