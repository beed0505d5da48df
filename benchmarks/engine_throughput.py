"""Tokens a second of the engine by number of rows, on a random model of the nano reasoner's shape.

    python benchmarks/engine_throughput.py [--rows 1 16 64 256] [--prompt 40] [--threads 1] [--gated]

Decoding only: the clock starts when all paths have their first token. Majority voting, or with --gated the
shipped control loop with a random gate that prunes nothing (threshold 0), to see what control costs.
"""

from __future__ import annotations

import argparse
import threading
import time

import torch
from controllable_inference.control.allocation import BudgetRule
from controllable_inference.control.baselines import MajorityVote
from controllable_inference.control.controller import Controller, GatedController
from controllable_inference.control.features import feature_dim
from controllable_inference.control.gate import PathGate
from controllable_inference.engine import attention
from controllable_inference.engine.engine import Engine, EngineConfig
from controllable_inference.engine.prompt import PromptRenderer
from controllable_inference.engine.request import SamplingParams
from controllable_inference.engine.vocabulary import Vocabulary
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
    model.set_attn_implementation(attention.NAME)
    words = ["\n", *(chr(0x4E00 + i) for i in range(VOCABULARY - 1))]
    known = {word: at for at, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(known, None))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    return model, PreTrainedTokenizerFast(tokenizer_object=inner)


def measure(rows: int, prompt_tokens: int, gated: bool) -> tuple[float, float]:
    """(milliseconds a step, tokens a second) with `rows` paths, sixteen a request."""
    paths = min(rows, 16)
    model, tokenizer = nano_shaped()
    controller: Controller = MajorityVote(paths, PATH_TOKENS)
    if gated:
        gate = PathGate(feature_dim(model.config.hidden_size))
        rule = BudgetRule(paths, PATH_TOKENS, paths)
        controller = GatedController(rule, lambda features: gate(features[None])[0], threshold=0.0)
    vocabulary = Vocabulary.of(model, tokenizer, None)
    config = EngineConfig(max_rows=max(rows, 16))
    engine = Engine(model, PromptRenderer(tokenizer, None, None), vocabulary, controller, config)
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
    return seconds / steps * 1000, rows * steps / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--prompt", type=int, default=40, help="tokens of each prompt, shared by its paths")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gated", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'rows':>6} {'ms a step':>10} {'tokens/s':>10}")
    for rows in options.rows:
        milliseconds, tokens = min(measure(rows, options.prompt, options.gated) for _ in range(3))
        print(f"{rows:>6} {milliseconds:>10.2f} {tokens:>10.0f}")


if __name__ == "__main__":
    main()
