"""Recordings of the base model at work: paths sampled by the engine, labelled by the verifier, replayed
through the model for what the gate would have seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from controllable_inference.control.baselines import MajorityVote
from controllable_inference.control.features import RecordedPath, features_of_recording, token_statistics
from controllable_inference.control.steps import step_texts
from controllable_inference.engine.engine import Engine
from controllable_inference.engine.request import PathResult, Result, SamplingParams
from controllable_inference.evaluation.driver import ask_all
from controllable_inference.evaluation.problems import Problem, is_correct
from controllable_inference.evaluation.records import PathRecord, ProblemRecord
from controllable_inference.evaluation.systems import FastSample

PATHS = 16
FAST_PATHS = 8
TOKEN_CAP = 512
FAST_SEEDS = 2**40  # between the seeds of a problem's fast paths, far from those of any thinking path


def record(
    engine: Engine,
    model: LlamaForCausalLM,
    problems: Sequence[Problem],
    seed: int,
    progress: Callable[[str], None],
    paths: int = PATHS,
) -> list[ProblemRecord]:
    """`paths` thinking and FAST_PATHS fast paths of every problem at temperature 1, seen and labelled.

    Seeds go by a problem's place, so work may be cut into pieces that are kept as they are done: problems
    from number n on, recorded with seed + n, give what they would have given within the whole.
    """
    questions = [problem.question for problem in problems]
    samplings = [SamplingParams(seed=seed + number) for number in range(len(problems))]
    slow, seconds = ask_all(engine, questions, samplings, controller=MajorityVote(paths, TOKEN_CAP))
    tokens = sum(result.usage.completion_tokens for result in slow)
    progress(f"{len(problems)} problems x {paths} paths, {tokens} tokens in {seconds:.0f} s")
    fast, _ = ask_all(
        engine,
        [question for question in questions for _ in range(FAST_PATHS)],
        [
            SamplingParams(seed=seed + number + FAST_SEEDS * (nth + 1))
            for number in range(len(problems))
            for nth in range(FAST_PATHS)
        ],
        controller=FastSample(TOKEN_CAP),
        concurrency=64,
    )
    return [
        _record_problem(model, engine, problem, slow[number], fast[number * FAST_PATHS :][:FAST_PATHS])
        for number, problem in enumerate(problems)
    ]


def _record_problem(
    model: LlamaForCausalLM, engine: Engine, problem: Problem, slow: Result, fast: list[Result]
) -> ProblemRecord:
    tokenizer: Any = engine.prompts.tokenizer
    prompt = engine.prompts.encode([{"role": "user", "content": problem.question}]).slow
    generated = [_tokens(tokenizer, path) for path in slow.paths]
    think_end = tokenizer.convert_tokens_to_ids("</think>")
    decode = engine.vocabulary.detokenizer.decode
    seen, prompt_hidden = observe(model, tokenizer.pad_token_id, prompt, generated)
    recordings = []
    for path, tokens, (hidden, statistics) in zip(slow.paths, generated, seen, strict=True):
        boundaries = engine.vocabulary.delimiters.boundaries(tokens, think_end)
        steps = step_texts(tokens, boundaries, decode)
        recordings.append(RecordedPath(hidden, statistics, boundaries, steps, path.answer))
    features = features_of_recording(recordings)
    paths = [
        _record_path(problem, path, recording.boundaries, vectors)
        for path, recording, vectors in zip(slow.paths, recordings, features, strict=True)
    ]
    quick = [_record_path(problem, r.paths[0], [], torch.zeros(0, features[0].shape[1])) for r in fast]
    return ProblemRecord(problem.family, problem.level, problem.question, prompt_hidden.half(), paths, quick)


def _record_path(
    problem: Problem, path: PathResult, boundaries: Sequence[int], features: Tensor
) -> PathRecord:
    right = is_correct(problem, path.answer)
    judged = list(boundaries[: len(features)])  # a path that was cut off at a boundary was not judged there
    return PathRecord(path.tokens, judged, features.half(), path.answer, right, path.text)


def _tokens(tokenizer: Any, path: PathResult) -> list[int]:
    """A path's tokens from its text: the tokenizer reads the model's own text as the model wrote it."""
    ids = tokenizer.encode(path.text, add_special_tokens=False)
    return [*ids, tokenizer.eos_token_id] if path.reason == "eos" else ids


@torch.inference_mode()
def observe(
    model: LlamaForCausalLM, padding: int, prompt: list[int], generated: list[list[int]]
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """For each path of T tokens: hidden states (T, hidden size) and token statistics (T, 3) as the engine saw
    them. And the prompt's hidden states (tokens, hidden size).
    """
    whole = [torch.tensor(prompt + tokens) for tokens in generated]
    ids = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True, padding_value=padding)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    seen, start = [], len(prompt)
    for row, tokens in enumerate(generated):
        end = start + len(tokens)
        # The distribution a token was drawn from is the one after the token before it.
        log_probs = model.lm_head(hidden[row, start - 1 : end - 1]).float().log_softmax(-1)
        statistics = torch.stack(token_statistics(log_probs, torch.tensor(tokens)), dim=1)
        seen.append((hidden[row, start:end].float(), statistics))
    return seen, hidden[0, :start].float()
