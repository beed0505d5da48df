"""A tokenizer that knows the special tokens of one domain."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any


class DomainTokenizer:
    """A copy of the model's tokenizer that reads and writes a domain's special tokens as one token each.

    All ids are the model's. A tokenizer gives what is added to it the numbers behind its own, so those of two
    domains would coincide; in the model, a domain's tokens have the rows from `first` on.

    ids: of the special tokens, in order. new_ids: of those that the model's tokenizer does not have.
    """

    def __init__(self, base: Any, texts: Sequence[str], first: int) -> None:
        known = base.get_vocab()
        new = [text for text in texts if text not in known]
        self._inner = base
        if texts:
            self._inner = copy.deepcopy(base)
            self._inner.add_tokens(list(texts), special_tokens=True)
        self._decoder = getattr(self._inner, "backend_tokenizer", None) or self._inner
        self.new_ids = tuple(range(first, first + len(new)))
        inner_ids = self._inner.convert_tokens_to_ids(new)
        self._to_model = dict(zip(inner_ids, self.new_ids, strict=True))
        self._to_inner = dict(zip(self.new_ids, inner_ids, strict=True))
        self.ids = _mapped(self._inner.convert_tokens_to_ids(list(texts)), self._to_model)

    @property
    def chat_template(self) -> Any:
        return self._inner.chat_template

    def get_vocab(self) -> dict[str, int]:
        return {text: self._to_model.get(i, i) for text, i in self._inner.get_vocab().items()}

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        return self._inner.apply_chat_template(messages, **options)

    def encode(self, text: str, **options: Any) -> list[int]:
        return _mapped(self._inner.encode(text, **options), self._to_model)

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        text: str = self._decoder.decode(_mapped(ids, self._to_inner), **options)
        return text


def _mapped(ids: Sequence[int], to: dict[int, int]) -> list[int]:
    return [to.get(i, i) for i in ids]
