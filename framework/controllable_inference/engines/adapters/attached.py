"""The domain adapters of one engine: which requests they are for, and which rows of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from controllable_inference.core.domain import DomainAdapter
from controllable_inference.engines.adapters.lora import LoraWeights
from controllable_inference.engines.adapters.tokenizer import DomainTokenizer
from controllable_inference.engines.adapters.tokens import add_rows
from controllable_inference.engines.detokenizer import Detokenizer
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.errors import AdapterError, RequestError


@dataclass(frozen=True, eq=False)
class Attached:
    """An adapter as requests carry it.

    prompts, detokenizer: read and write its special tokens as such. step_ids: of these tokens, each of which
    ends a step. token_ids: of those that no other request may draw, for the model has them from this adapter.
    has_weights: whether the model's layers hold LoRA weights of its.
    """

    adapter: DomainAdapter
    prompts: PromptRenderer
    detokenizer: Detokenizer
    step_ids: frozenset[int]
    token_ids: tuple[int, ...]
    has_weights: bool


AnyAttached = TypeVar("AnyAttached", bound=Attached)


def of_domain(adapters: Mapping[str, AnyAttached], domain: str) -> AnyAttached:
    """Raises RequestError for a domain without an adapter."""
    if domain not in adapters:
        there = ", ".join(sorted(adapters)) or "none"
        raise RequestError("adapter", f"no adapter {domain!r} was added to this model; there is {there}")
    return adapters[domain]


class Adapters:
    """Added while the engine stands still (`Engine.idle`), read by its thread and by those who submit."""

    def __init__(self) -> None:
        self._by_domain: dict[str, Attached] = {}
        self._mine: dict[str, Tensor] = {}  # (tokens of the batch, 1): 1 where the token is of the domain

    def __getitem__(self, domain: str) -> Attached:
        """Raises RequestError for a domain without an adapter."""
        return of_domain(self._by_domain, domain)

    def add(self, adapter: DomainAdapter, model: Any, prompts: PromptRenderer) -> Attached:
        """prompts: of requests without an adapter; it and its tokenizer stay as they are.

        Raises AdapterError, and nothing has changed then.
        """
        domain = adapter.domain
        if domain in self._by_domain:
            raise AdapterError(f"the model has an adapter for {domain!r} already; a domain has one")
        base = prompts.tokenizer
        known = sorted(base.get_vocab().values())
        taken = [*known, *(i for a in self._by_domain.values() for i in a.token_ids)]
        tokenizer = DomainTokenizer(base, adapter.special_tokens, first=max(taken) + 1)
        weights, trained = None, {}
        if adapter.peft_path is not None:
            weights = LoraWeights.read(adapter.peft_path)
            trained = weights.rows_of_new_tokens(model, len(base), len(tokenizer.new_ids))
            # peft's own names for parts of a layer, and Python's, are no domain's
            for module in weights.inject(model, f"domain-{domain}"):
                module.register_forward_hook(self._only_mine(domain))
        add_rows(model, known, tokenizer.new_ids, trained)
        attached = Attached(
            adapter,
            prompts.reading_with(tokenizer),
            Detokenizer(tokenizer),
            frozenset(tokenizer.ids),
            tokenizer.new_ids,
            weights is not None,
        )
        self._by_domain[domain] = attached
        return attached

    @property
    def have_weights(self) -> bool:
        return any(a.has_weights for a in self._by_domain.values())

    def select(self, rows: Sequence[tuple[Attached | None, int]], device: torch.device) -> None:
        """Before a forward pass: whose the tokens of the batch are, in order, as (adapter, tokens)."""
        counts = torch.tensor([count for _, count in rows])
        for domain, attached in self._by_domain.items():
            mine = torch.tensor([float(owner is attached) for owner, _ in rows])
            self._mine[domain] = mine.repeat_interleave(counts)[:, None].to(device)

    @torch.inference_mode()
    def forbid_foreign(self, logits: Tensor, owners: Sequence[Attached | None]) -> Tensor:
        """logits (rows, vocabulary), changed in place: nobody draws special tokens of another's adapter."""
        if not any(a.token_ids for a in self._by_domain.values()):
            return logits
        for owner in dict.fromkeys(owners):
            foreign = [i for a in self._by_domain.values() if a is not owner for i in a.token_ids]
            rows = [at for at, other in enumerate(owners) if other is owner]
            at = torch.tensor(rows, device=logits.device)[:, None]
            logits[at, torch.tensor(foreign, dtype=torch.long, device=logits.device)] = -torch.inf
        return logits

    def _only_mine(self, domain: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output * self._mine[domain].to(output.dtype)

        return hook
