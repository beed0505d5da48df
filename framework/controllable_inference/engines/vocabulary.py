"""What tokens and texts mean to the engine: the end of a path, of its thinking, of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controllable_inference.core.config import ControlConfig
from controllable_inference.core.equality import equality_of
from controllable_inference.core.steps import StepDelimiters
from controllable_inference.engines.detokenizer import Detokenizer
from controllable_inference.engines.path import Path, PathGroup

DELIMITERS = ("\n\n",)
"""What ends a step where control.json says nothing: R1 and Qwen3 write paragraphs."""

CUE = "The final answer is \\boxed{"
"""What a trial answer begins with where control.json says nothing."""

OPENING = 8
"""Tokens at a prompt's end among which a chat template may have opened a thinking segment."""

THINK_END = "</think>"
"""What ends a thinking segment in the open reasoning families, assumed where control.json says nothing."""


@dataclass(frozen=True)
class Vocabulary:
    """What an engine has to know of a model's tokens, to follow its paths."""

    detokenizer: Detokenizer
    delimiters: StepDelimiters
    eos: frozenset[int]
    """Ids that end a path."""
    think_end: str | None
    """Text that ends the thinking segment, None for a model without one."""
    think_end_id: int | None
    """The one token that this is, None if it takes several."""
    lenient: bool
    """Whether the model need not think."""
    think_start_id: int | None = None
    """The token that begins a thinking segment, None if unknown."""
    closing: tuple[int, ...] | None = None
    """What ends thinking by force, None where nothing does."""
    equality: str = "number"
    """Of answers, by its name."""
    cue: str = ""
    """What a trial answer begins with."""

    @classmethod
    def of(cls, model: Any, tokenizer: Any, control: ControlConfig | None) -> Vocabulary:
        """What control.json says, else what the tokenizer gives away."""
        equality = control.equality if control else "math"
        equality_of(equality)  # refused now, if at all
        detokenizer = Detokenizer(tokenizer)
        think_end: str | None = control.think_end if control else THINK_END
        think_end_id = tokenizer.get_vocab().get(think_end)
        if control is None and think_end_id is None:
            think_end = None  # no reasoning model of the families that mark their thinking
        delimiters = control.step_delimiters if control else DELIMITERS
        known = tokenizer.get_vocab()
        think_start_id = known.get((think_end or "").replace("</", "<", 1))
        closing = None
        if think_end is not None and not (control is None and think_start_id is None):
            text = (control.closing.text if control else None) or f"\n{think_end}\n\n"
            closing = tuple(detokenizer.encode(text))
        return cls(
            detokenizer,
            StepDelimiters(delimiters, detokenizer.token_text),
            eos_ids(model, tokenizer),
            think_end,
            think_end_id,
            lenient=control is None,
            think_start_id=think_start_id,
            closing=closing,
            equality=equality,
            cue=control.closing.cue if control else CUE,
        )

    def thought_end(self, group: PathGroup) -> str | None:
        """`think_end` where this request's paths think, else None."""
        return self.think_end if group.plan is not None and group.plan.mode == "slow" else None

    def can_close(self, path: Path) -> bool:
        """Whether it is thinking, so that its thinking can be ended by force.

        A model that need not think does so where a thinking segment was opened, in the prompt or by itself.
        """
        if self.closing is None or not path.stepping or path.closed:
            return False
        if not self.lenient:
            return True
        return self.think_start_id in path.tokens or self.think_start_id in path.group.prompt[-OPENING:]

    def detokenizer_for(self, group: PathGroup) -> Detokenizer:
        return group.adapter.detokenizer if group.adapter else self.detokenizer

    def ends_step(self, path: Path) -> bool:
        """Whether its newest token does: with a delimiter in it, or as a special token of its adapter."""
        token, adapter = path.tokens[-1], path.group.adapter
        return self.delimiters.ends_step(path.tokens) or (adapter is not None and token in adapter.step_ids)

    def ends_thinking(self, path: Path, token: int) -> bool:
        if self.think_end is None:
            return False
        if self.think_end_id is not None:
            return token == self.think_end_id
        return path.growing is not None and self.think_end in path.growing.text

    def needs_text(self, group: PathGroup) -> bool:
        """Whether paths can't be followed by their tokens alone."""
        by_text = self.thought_end(group) is not None and self.think_end_id is None
        return by_text or bool(group.sampling.stop) or group.streaming

    def stop_at(self, text: str, group: PathGroup) -> int:
        """Where the first stop string begins, -1 if nowhere; they count behind the thinking only."""
        begin = 0
        if (end := self.thought_end(group)) is not None:
            found = text.find(end)
            if found < 0:
                return -1
            begin = found + len(end)
        places = [at for stop in group.sampling.stop if (at := text.find(stop, begin)) >= 0]
        return min(places, default=-1)

    def cut(self, text: str, group: PathGroup) -> str:
        at = self.stop_at(text, group) if group.sampling.stop else -1
        return text if at < 0 else text[:at]


def eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that model, generation settings or tokenizer say ends a text."""
    found: set[int] = set()
    for source in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found.update(ids if isinstance(ids, list | tuple) else [] if ids is None else [ids])
    return frozenset(found)
