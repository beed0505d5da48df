"""From a prompt or chat messages to token ids, with and without a thinking segment."""

from __future__ import annotations

import copy
import threading
from typing import Any, NamedTuple

from controllable_inference.core.request import Messages
from controllable_inference.errors import RequestError
from controllable_inference.unicode import fault_of

BEGINNING = 16
"""Characters for each token that fits, which are read first of a longer text; common are about 4 a token."""


class PromptIds(NamedTuple):
    """slow: the prompt as it is. fast: the same with thinking skipped, equal to slow if it can't be."""

    slow: list[int]
    fast: list[int]


class PromptRenderer:
    """Thread-safe. lock: held by who uses the tokenizer, or copies it.

    think_end: text that ends a thinking segment, None for a model without one.
    fast_prefix: what to append to skip thinking, None to work it out from the template's own behaviour.
    """

    def __init__(self, tokenizer: Any, think_end: str | None, fast_prefix: str | None) -> None:
        self.tokenizer = tokenizer
        self.think_end = think_end
        self.fast_prefix = fast_prefix
        self.lock = threading.Lock()

    def reading_with(self, tokenizer: Any) -> PromptRenderer:
        """The same with another tokenizer, which may share its parts with this one's: they share the lock."""
        other = copy.copy(self)
        other.tokenizer = tokenizer
        return other

    def render(self, prompt: str | Messages, thinking: bool = True) -> str:
        """Text the model continues. Raises RequestError for messages that are none."""
        # where a prefix is given, it closes the thinking segment, and the template must not do so too
        thinks = thinking or bool(self.fast_prefix)
        text = prompt if isinstance(prompt, str) else self._apply_template(prompt, thinks)
        if thinking or self.think_end is None:
            return text
        if self.fast_prefix is not None:
            return text + self.fast_prefix
        return text + self._worked_out_prefix(prompt, text)

    def encode(self, prompt: str | Messages, room: int | None = None) -> PromptIds:
        """room: how many tokens fit, None for any number; far more are refused without being read to the end.

        Raises RequestError for these, for a string that is no text, and where there is no token.
        """
        # a chat template writes the special tokens itself
        special = isinstance(prompt, str) or self.tokenizer.chat_template is None
        with self.lock:  # a fast tokenizer must not be used by two threads while it changes its settings
            text, skipped = self.render(prompt), self.render(prompt, thinking=False)
            if fault := fault_of(text):
                raise RequestError("prompt" if isinstance(prompt, str) else "messages", fault)
            if room is not None:
                self._check_length(text, room)
            slow = list(self.tokenizer.encode(text, add_special_tokens=special))
            fast = slow
            if skipped != text:
                fast = list(self.tokenizer.encode(skipped, add_special_tokens=special))
        if not slow:
            raise RequestError("prompt", "holds no token")
        return PromptIds(slow, fast)

    def _check_length(self, text: str, room: int) -> None:
        """Megabytes take a tokenizer seconds, for which all other requests would wait."""
        characters = BEGINNING * room
        if characters >= len(text):
            return
        # where it is cut, a beginning has more tokens than in the whole: those that one token falls into
        most = 2 * room + max(map(len, self.tokenizer.get_vocab()))
        while characters < len(text):
            if len(self.tokenizer.encode(text[:characters], add_special_tokens=False)) > most:
                raise RequestError("prompt", f"has more than {2 * room} tokens, of {room} that fit")
            characters *= 2

    def _apply_template(self, messages: Messages, thinking: bool) -> str:
        _check_messages(messages)
        if self.tokenizer.chat_template is None:
            return "\n".join(m["content"] for m in messages)
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
            )
        except Exception as error:  # a template may raise anything, and what it says is about these messages
            raise RequestError("messages", f"the model's chat template refuses them: {error}") from error

    def _worked_out_prefix(self, prompt: str | Messages, text: str) -> str:
        """An empty thinking segment, unless the template has written one; some templates open it already."""
        if not isinstance(prompt, str) and text != self._apply_template(prompt, True):
            return ""
        opens = text.rstrip().endswith("<think>")
        return ("" if opens else "<think>\n") + f"\n{self.think_end}\n\n"


def _check_messages(messages: Messages) -> None:
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages", "must be a non-empty list of messages")
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(f"messages[{at}]", "must be an object with a role")
        if not isinstance(message.get("content"), str):
            raise RequestError(f"messages[{at}].content", "must be a string")
