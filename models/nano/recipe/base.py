"""Training of the nano language model: a small Llama, Muon for its matrices, AdamW for the rest.

The learning rate warms up, stays, and falls linearly to zero at the end; the fall is where most of the
accuracy comes from. A checkpoint holds everything, so a killed run goes on where it was
and ends with the same batches in the same order.
"""

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.nano.recipe.corpus import IGNORED, build, micro_batches, padded

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseRecipe:
    """Everything that decides the weights."""

    hidden_size: int = 192
    layers: int = 5
    heads: int = 6
    intermediate_size: int = 512
    steps: int = 1700
    batch: int = 64  # examples a step
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup_steps: int = 50
    decay_steps: int = 800
    seed: int = 1


def new_model(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh model, fan-in initialised, residual outputs scaled down by the depth (as GPT-2)."""
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    for name, weight in model.named_parameters():
        if "proj" in name:
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            scale = 1 / math.sqrt(2 * recipe.layers) if residual else 1.0
            torch.nn.init.normal_(weight, std=scale * recipe.hidden_size**-0.5)
    return model


def learning_rate(step: int, recipe: BaseRecipe) -> float:
    """Factor on both learning rates at a step: warm-up, plateau, linear decay."""
    return min(1.0, (step + 0.2) / recipe.warmup_steps, (recipe.steps - step) / recipe.decay_steps)


def _loss(model: LlamaForCausalLM, backbone: Any, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed negative log-likelihood; logits are made only where there is a label."""
    hidden = backbone(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    targets = labels[:, 1:]
    kept = targets != IGNORED
    return cross_entropy(model.lm_head(hidden[kept]).float(), targets[kept], reduction="sum")


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere autocast only costs time."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def compiled(model: LlamaForCausalLM) -> Any:
    """The layers fused by torch's inductor, or as they are where it finds no C++ compiler.

    Measured on one core: about 8,000 tokens/s fused, 5,700 plain; half a minute to compile.
    """
    if shutil.which("g++") is None:
        return model.model
    fused = torch.compile(model.model, dynamic=True)
    try:
        fused(input_ids=torch.zeros(2, 8, dtype=torch.long), use_cache=False)
    except Exception as error:  # headers can be missing too: whatever inductor lacks, plain layers work
        log.warning("training without torch.compile, which failed: %s", error)
        return model.model
    return fused


def train(
    recipe: BaseRecipe,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
    report: Callable[[int, float, float], None],
    checkpoint_every: int = 100,
    report_every: int = 20,
    fuse: bool = True,
) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """Train, or go on from `checkpoint`; returns the model and what the run cost.

    `report(step, loss, tokens_per_second)` is called every `report_every` steps; loss is in nats per
    learned token. fuse: compile the layers first, if that is possible.
    """
    model = new_model(recipe, tokenizer)
    matrices = [p for name, p in model.named_parameters() if "proj" in name]
    rest = [p for name, p in model.named_parameters() if "proj" not in name]
    optimizers = (
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.1, momentum=0.95),
        torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    )
    base_rates = (recipe.muon_lr, recipe.adam_lr)
    cost = {"step": 0, "tokens": 0, "learned_tokens": 0, "wall_seconds": 0.0, "cpu_seconds": 0.0}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["recipe"] != asdict(recipe):
            raise ValueError(f"{checkpoint}: made by another recipe; remove it to train from scratch")
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        cost = state["cost"]
    if cost["step"] == recipe.steps:
        return model.eval(), cost
    # The corpus is drawn again on every start, which needs no cache to go stale; some cells come out short.
    examples = build(round(1.05 * recipe.steps * recipe.batch), recipe.seed, tokenizer)
    fast = has_fast_bfloat16()
    # Measured at these sizes: plain matrix products beat the fused CPU attention's backward in bfloat16.
    model.set_attn_implementation("eager" if fast else "sdpa")
    model.train()
    backbone = compiled(model) if fuse else model.model
    running, since = 0.0, 0
    wall, cpu = time.monotonic() - cost["wall_seconds"], time.process_time() - cost["cpu_seconds"]
    started_tokens, started = cost["tokens"], time.monotonic()
    for step in range(int(cost["step"]), recipe.steps):
        batch = examples[step * recipe.batch : (step + 1) * recipe.batch]
        learned = sum(label != IGNORED for example in batch for label in example.labels)
        for chunk in micro_batches(batch):
            ids, labels = padded(chunk, tokenizer.pad_token_id)
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                loss = _loss(model, backbone, ids, labels) / learned
            loss.backward()
            running += loss.item()
        for optimizer, rate in zip(optimizers, base_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * learning_rate(step, recipe)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        since += 1
        cost["step"] = step + 1
        cost["tokens"] += sum(len(example.ids) for example in batch)
        cost["learned_tokens"] += learned
        cost["wall_seconds"] = time.monotonic() - wall
        cost["cpu_seconds"] = time.process_time() - cpu
        if since == report_every:
            speed = (cost["tokens"] - started_tokens) / (time.monotonic() - started)
            report(step + 1, running / since, speed)
            running, since = 0.0, 0
        if (step + 1) % checkpoint_every == 0 or step + 1 == recipe.steps:
            _save(checkpoint, recipe, model, optimizers, cost)
    return model.eval(), cost


def _save(path: Path, recipe: BaseRecipe, model: LlamaForCausalLM, optimizers: Any, cost: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")  # a kill in the middle of writing leaves the old one whole
    state = {
        "recipe": asdict(recipe),
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "cost": cost,
    }
    torch.save(state, fresh)
    fresh.replace(path)
