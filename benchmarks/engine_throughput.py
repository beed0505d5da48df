"""Decoding speed of the engine beside transformers' own `generate`, on a random model of nano's shape.

    python -m benchmarks.engine_throughput [--rows 1 16 64 256] [--prompt 40] [--threads 1] [--gated]

Both decode the same number of sampled tokens from one prompt, taking turns in the same process; a ratio is
of neighbouring runs. The engine runs majority voting, sixteen paths a request, or with --gated the shipped
control loop with a random gate that prunes nothing (threshold 0), to see what control costs.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from controllable_inference.core.allocation import BudgetRule
from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.controller import Controller, GatedController
from controllable_inference.core.features import feature_dim
from controllable_inference.core.gate import PathGate
from controllable_inference.core.request import SamplingParams
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.native import attention
from controllable_inference.engines.native.engine import NativeEngine
from controllable_inference.engines.prompt import PromptRenderer
from controllable_inference.engines.vocabulary import Vocabulary
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PATH_TOKENS, VOCABULARY = 96, 130


def nano_shaped() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=None,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    words = ["\n", *(chr(0x4E00 + i) for i in range(VOCABULARY - 1))]
    known = {word: at for at, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(known, None))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return model, PreTrainedTokenizerFast(tokenizer_object=inner)


def engine_speed(rows: int, prompt_tokens: int, gated: bool) -> float:
    """Tokens a second from the last path's start to the first request's end."""
    paths = min(rows, 16)
    model, tokenizer = nano_shaped()
    model.set_attn_implementation(attention.NAME)
    controller: Controller = MajorityVote(paths, PATH_TOKENS)
    if gated:
        gate = PathGate(feature_dim(model.config.hidden_size))
        rule = BudgetRule(paths, PATH_TOKENS, paths)
        controller = GatedController(rule, lambda features: gate(features[None])[0], threshold=0.0)
    vocabulary = Vocabulary.of(model, tokenizer, None)
    limits = EngineLimits(max_rows=max(rows, 16))
    engine = NativeEngine(model, PromptRenderer(tokenizer, None, None), vocabulary, controller, limits)
    done = threading.Semaphore(0)
    began: list[tuple[float, int]] = []
    ended: list[tuple[float, int]] = []

    def on_event(event: object) -> None:
        kind = getattr(event, "type", "")
        if kind == "path_started":
            began.append((time.perf_counter(), engine.stats().steps))
        elif kind in ("done", "failed"):
            ended.append((time.perf_counter(), engine.stats().steps))
            done.release()

    prompt = "".join(chr(0x4E00 + i % 100) for i in range(prompt_tokens))
    for number in range(rows // paths):
        engine.submit(prompt, SamplingParams(seed=number), on_event=on_event, streaming=False)
    for _ in range(rows // paths):
        done.acquire()
    engine.shutdown()
    seconds, steps = (ended[0][at] - began[-1][at] for at in (0, 1))
    return rows * steps / seconds


def generate_speed(rows: int, prompt_tokens: int) -> float:
    """Tokens a second of `generate`, its prefill (one forward) included."""
    model, _ = nano_shaped()
    prompt = torch.arange(prompt_tokens)[None] % 100 + 1
    options = {"do_sample": True, "num_return_sequences": rows, "max_new_tokens": PATH_TOKENS}
    start = time.perf_counter()
    model.generate(prompt, attention_mask=torch.ones_like(prompt), pad_token_id=0, **options)
    return rows * PATH_TOKENS / (time.perf_counter() - start)


def spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--prompt", type=int, default=40, help="tokens of each prompt, shared by its paths")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gated", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {cpu_name()}, {options.threads} thread(s)")
    print(f"tokens a second, median [least, most] of {options.repeats}\n")
    print("| rows | engine | transformers generate | ratio |\n|---|---|---|---|")
    for rows in options.rows:
        pairs = [
            (engine_speed(rows, options.prompt, options.gated), generate_speed(rows, options.prompt))
            for _ in range(options.repeats)
        ]
        ours, theirs = ([pair[at] for pair in pairs] for at in (0, 1))
        ratios = [a / b for a, b in pairs]
        print(f"| {rows} | {spread(ours)} | {spread(theirs)} | {spread(ratios, 2)} |")


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(": ", 1)[1] for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}"


if __name__ == "__main__":
    main()
