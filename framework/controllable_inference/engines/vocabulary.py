"""What tokens and texts mean to the engine: the end of a path, of its thinking, of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controllable_inference.core.config import ControlConfig
from controllable_inference.core.steps import StepDelimiters
from controllable_inference.engines.detokenizer import Detokenizer
from controllable_inference.engines.path import Path, PathGroup

THINK_END = "</think>"
"""What ends a thinking segment in the open reasoning families, assumed where control.json says nothing."""


@dataclass(frozen=True)
class Vocabulary:
    """eos: ids that end a path.

    think_end: text that ends the thinking segment, None for a model without one; think_end_id: the one
    token it is, None if it takes several. lenient: the model need not think.
    """

    detokenizer: Detokenizer
    delimiters: StepDelimiters
    eos: frozenset[int]
    think_end: str | None
    think_end_id: int | None
    lenient: bool

    @classmethod
    def of(cls, model: Any, tokenizer: Any, control: ControlConfig | None) -> Vocabulary:
        """What control.json says, else what the tokenizer gives away."""
        detokenizer = Detokenizer(tokenizer)
        think_end: str | None = control.think_end if control else THINK_END
        think_end_id = tokenizer.get_vocab().get(think_end)
        if control is None and think_end_id is None:
            think_end = None  # no reasoning model of the families that mark their thinking
        delimiters = (control or ControlConfig()).step_delimiters
        return cls(
            detokenizer,
            StepDelimiters(delimiters, detokenizer.token_text),
            eos_ids(model, tokenizer),
            think_end,
            think_end_id,
            lenient=control is None,
        )

    def thought_end(self, group: PathGroup) -> str | None:
        """`think_end` where this request's paths think, else None."""
        return self.think_end if group.plan is not None and group.plan.mode == "slow" else None

    def detokenizer_for(self, group: PathGroup) -> Detokenizer:
        return group.adapter.detokenizer if group.adapter else self.detokenizer

    def ends_step(self, path: Path) -> bool:
        """Whether its newest token does: with a delimiter in it, or as a special token of its adapter."""
        token, adapter = path.tokens[-1], path.group.adapter
        return self.delimiters.ends_step(token) or (adapter is not None and token in adapter.step_ids)

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
