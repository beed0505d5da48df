"""Training examples of the base model: tokenised questions with traces, and batches of them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from controllable_inference.learn.problems import Problem, Split, cells, draw
from transformers import PreTrainedTokenizerFast

from models.nano.recipe.tokenizer import EOS, THINK_END, prompt_text
from models.nano.recipe.traces import trace

FAST_SHARE = 0.25  # examples answered without thinking; they are short
IGNORED = -100  # cross_entropy's ignore_index

# How often a family and a level are shown: harder ones need more practice.
FAMILY_WEIGHT = {
    "chain_sum": 1.6,
    "products": 1.7,
    "gcd": 1.2,
    "base_conversion": 1.4,
    "number_sorting": 1.2,
    "count_bits": 0.5,
    "letter_counting": 0.8,
    "spell_backward": 0.8,
    "leg_counting": 0.6,
    "prime_factorization": 1.0,
}
LEVEL_WEIGHT = (0.8, 1.0, 1.2)


@dataclass(frozen=True)
class Example:
    """Token ids of prompt and response, and the labels: IGNORED where nothing is to be learned."""

    ids: list[int]
    labels: list[int]


def encode(problem: Problem, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Example:
    """One example; thinking is left out in FAST_SHARE of the cases."""
    thinking = rng.random() >= FAST_SHARE
    parts = [(prompt_text(problem.question, thinking), False)]
    if thinking:
        parts += [(line.text + "\n", line.learned) for line in trace(problem, rng)]
        parts.append((THINK_END, True))
    parts.append((problem.answer + EOS, True))
    encoded = tokenizer([text for text, _ in parts], add_special_tokens=False)["input_ids"]
    ids: list[int] = []
    labels: list[int] = []
    for tokens, (_, learned) in zip(encoded, parts, strict=True):
        ids += tokens
        labels += tokens if learned else [IGNORED] * len(tokens)
    return Example(ids, labels)


def build(count: int, seed: int, tokenizer: PreTrainedTokenizerFast) -> list[Example]:
    """About `count` shuffled examples from the base split, in the proportions stated above."""
    rng = random.Random(seed)
    weighted = [(f, lv, FAMILY_WEIGHT[f] * LEVEL_WEIGHT[lv]) for f, lv in cells()]
    total = sum(weight for *_, weight in weighted)
    examples = []
    for cell, (family, level, weight) in enumerate(weighted):
        wanted = round(count * weight / total)
        drawn = (
            problem
            # 70 % of the draws belong to the base split; a tenth is drawn on top for chance.
            for problem in draw(family, level, seed * 1_000_003 + cell, int(wanted / 0.7 * 1.1) + 20)
            if problem.split is Split.BASE
        )
        examples += [
            encode(problem, tokenizer, rng) for problem, _ in zip(drawn, range(wanted), strict=False)
        ]
    rng.shuffle(examples)
    return examples


def padded(examples: list[Example], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and labels, both int64 (examples, longest)."""
    ids = [torch.tensor(example.ids) for example in examples]
    labels = [torch.tensor(example.labels) for example in examples]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(ids, True, pad_id), pad(labels, True, IGNORED)


def micro_batches(examples: list[Example], parts: int = 10) -> Iterator[list[Example]]:
    """The batch cut into `parts` of about equal token counts, alike lengths together."""
    ordered = sorted(examples, key=lambda example: len(example.ids))
    share = sum(len(example.ids) for example in ordered) / parts
    chunk: list[Example] = []
    for example in ordered:
        chunk.append(example)
        if sum(len(e.ids) for e in chunk) >= share:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
