"""The only place that calls vLLM: rows of tokens in, one drawn token a row and step out."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controllable_inference.core.features import CONFIDENCE_TOP_K
from controllable_inference.engines.limits import EngineLimits
from controllable_inference.engines.vllm.nodes import Nodes
from controllable_inference.errors import ModelLoadError

log = logging.getLogger(__name__)

OLDEST = (0, 32)
"""Version of vLLM that this was written for and run with; older ones are refused."""
CPU_BLOCK_SIZE = 32
"""Tokens in a block on CPUs, whose kernels take multiples of 32; vLLM's own 128 shares little of a prompt."""


@dataclass(frozen=True)
class Draw:
    """How a row's tokens are drawn, and how many at most. temperature 0 is greedy, and needs no seed."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int | None


class Drawn(NamedTuple):
    """One drawn token of a row, with where it is found in the tensors of its step (None: not observed)."""

    token: int
    step: StepOutput
    at: int | None


@dataclass(eq=False)
class StepOutput:
    """One step. drawn: by row.

    hidden (n, hidden size): final hidden states at the tokens before the drawn ones. statistics (n, 3): log-
    probability, entropy and confidence of the drawn ones. prompts: by row, hidden states (tokens, hidden
    size) of what was computed of its prompt.
    """

    drawn: dict[str, Drawn]
    hidden: Tensor
    statistics: Tensor
    prompts: dict[str, Tensor]

    @classmethod
    def gather(cls, drawn: Sequence[Drawn], hidden_size: int) -> tuple[Tensor, Tensor]:
        """Hidden states and statistics of tokens of whichever steps; zeros where none were observed."""
        step = drawn[0].step
        if all(one.step is step and one.at is not None for one in drawn):
            at = torch.tensor([one.at for one in drawn], device=step.hidden.device)
            return step.hidden[at], step.statistics[at]
        device = step.hidden.device
        nothing = torch.zeros(hidden_size, device=device), torch.zeros(3, device=device)
        rows = [
            nothing if one.at is None else (one.step.hidden[one.at], one.step.statistics[one.at])
            for one in drawn
        ]
        hidden, statistics = zip(*rows, strict=True)
        return torch.stack([h.float() for h in hidden]), torch.stack([s.float() for s in statistics])


class VllmRunner:
    """vLLM's engine in this process, and its workers in theirs where several devices share the model.

    observes: whether hidden states and exact statistics are to be had of it.
    """

    def __init__(
        self, folder: Path, precision: str, limits: EngineLimits, tensor_parallel: int = 1, adapters: int = 0
    ) -> None:
        """precision auto: float32 on a CPU, the checkpoint's own on a GPU. adapters: how many sets of LoRA
        weights may be in use.

        Raises ModelLoadError where vLLM is missing or too old, or can't load the model.
        """
        arguments = engine_args(folder, precision, limits, tensor_parallel, adapters, Nodes.of(os.environ))
        from vllm import LLMEngine

        try:
            self._engine = LLMEngine.from_engine_args(arguments)
        except Exception as error:
            raise ModelLoadError(f"vLLM can't load {folder}: {_innermost(error)}") from error
        self.config = self._engine.vllm_config
        core = self._engine.engine_core.engine_core
        self._scheduler = core.scheduler
        self._pool = core.scheduler.kv_cache_manager.block_pool
        self.blocks = self._pool.num_gpu_blocks - 1  # one stands for none
        self.block_size: int = self.config.cache_config.block_size
        self.context: int = self.config.model_config.max_model_len
        to_host = self.config.parallel_config.world_size > 1
        self.device = torch.device("cpu" if to_host or not torch.cuda.is_available() else "cuda")
        missing = [answer for answer in self._engine.collective_rpc("observe", args=(to_host,)) if answer]
        self.observes = not missing
        self.hidden_size: int = self.config.model_config.get_hidden_size() if self.observes else 0
        self._no_hidden = torch.zeros(1, self.hidden_size, device=self.device)
        if missing:
            log.warning(
                "vLLM %s shows no hidden states (%s): control runs on what vLLM tells of tokens, without "
                "a trained gate and budget",
                _import().__version__,
                missing[0],
            )

    @property
    def free_blocks(self) -> int:
        return self._pool.get_num_free_blocks()

    def add(
        self, row: str, tokens: list[int], draw: Draw, observe: str = "", adapter: Any | None = None
    ) -> None:
        """Compute `tokens` and draw behind them, from the next step on. observe: as `observation.OBSERVE`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        from controllable_inference.engines.vllm.observation import OBSERVE

        params = SamplingParams(
            temperature=draw.temperature,
            top_p=draw.top_p,
            top_k=draw.top_k,
            max_tokens=draw.max_tokens,
            seed=draw.seed,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            # What is cached of a prompt is not computed again, and has no hidden states to show.
            skip_reading_prefix_cache=observe == "prompt",
            extra_args={OBSERVE: observe} if observe and self.observes else None,
            logprobs=CONFIDENCE_TOP_K if observe and not self.observes else None,
        )
        self._engine.add_request(row, {"prompt_token_ids": tokens}, params, lora_request=adapter)

    def abort(self, row: str) -> None:
        """Stop computing a row, and free its blocks at once."""
        self._engine.abort_request([row])

    def step(self) -> StepOutput:
        outputs = self._engine.step()
        seen, self._scheduler.observation = self._scheduler.observation, None
        if seen is None:
            at, statistics = _told_by_vllm(outputs)
            hidden = self._no_hidden.expand(len(statistics), -1)
            step = StepOutput({}, hidden, statistics.to(self.device), {})
        else:
            prompts = {_row(request_id): piece for request_id, piece in seen.prompts.items()}
            step = StepOutput({}, seen.hidden, seen.statistics, prompts)
            at = {_row(request_id): index for request_id, index in seen.rows.items()}
        for output in outputs:
            row = output.request_id
            for token in output.outputs[0].token_ids:
                step.drawn[row] = Drawn(token, step, at.get(row))
        return step

    def close(self) -> None:
        """End the workers, and free the memory."""
        self._engine.engine_core.shutdown()


def engine_args(
    folder: Path, precision: str, limits: EngineLimits, tensor_parallel: int, adapters: int, nodes: Nodes
) -> Any:
    """vLLM's EngineArgs for one node of those that share a model. tensor_parallel: devices of all of them.

    Raises ModelLoadError where vLLM is missing or too old.
    """
    vllm = _import()
    from vllm.platforms import current_platform

    options: dict[str, Any] = {
        "model": str(folder),
        "dtype": precision,
        "max_num_seqs": limits.max_rows,
        "tensor_parallel_size": tensor_parallel,
        "async_scheduling": False,  # control decides between two steps, with nothing under way
        "scheduler_cls": "controllable_inference.engines.vllm.observation.ObservingScheduler",
        "worker_extension_cls": "controllable_inference.engines.vllm.observation.ObservingWorker",
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "max_model_len": -1,  # as much of the context as the memory holds
        "max_num_batched_tokens": max(limits.max_step_tokens, 8192),
        **nodes.arguments(),
    }
    if limits.kv_blocks is not None:
        options["num_gpu_blocks_override"] = limits.kv_blocks
    if adapters:
        options |= {"enable_lora": True, "max_loras": adapters, "max_lora_rank": 64}
    if current_platform.is_cpu():
        # Seeded rows fail on CPUs where a prompt is computed in pieces.
        options |= {"block_size": CPU_BLOCK_SIZE, "enable_chunked_prefill": False, "enforce_eager": True}
        del options["max_num_batched_tokens"]
        options["dtype"] = "float32" if precision == "auto" else precision
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # of workers: a pod has no compiler
    return vllm.EngineArgs(**options)


def _told_by_vllm(outputs: Sequence[Any]) -> tuple[dict[str, int], Tensor]:
    """Statistics of drawn tokens from vLLM's own log-probabilities, where it was asked for them.

    Returns (place by row, (n, 3) as `StepOutput` has them). The entropy is the part of it that the likeliest
    tokens account for.
    """
    at: dict[str, int] = {}
    statistics: list[tuple[float, float, float]] = []
    for output in outputs:
        drawn = output.outputs[0]
        if drawn.token_ids and drawn.logprobs:
            told = drawn.logprobs[-1]
            top = sorted((one.logprob for one in told.values()), reverse=True)[:CONFIDENCE_TOP_K]
            entropy = -sum(math.exp(logprob) * logprob for logprob in top)
            at[output.request_id] = len(statistics)
            statistics.append((told[drawn.token_ids[-1]].logprob, entropy, -sum(top) / len(top)))
    return at, torch.tensor(statistics).reshape(-1, 3)


def _row(request_id: str) -> str:
    """vLLM appends a random part to the names that it is given."""
    return request_id.rsplit("-", 1)[0]


def _import() -> Any:
    """The package, set up for an engine core in this process. Raises ModelLoadError."""
    # Control stands between two steps, so the core must not run ahead in a process of its own.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"  # the other one is not observed
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
    try:
        import vllm
    except ImportError as error:
        hint = "pip install 'controllable-inference[vllm]' (on a machine without a GPU: vllm-cpu)"
        raise ModelLoadError(f"vLLM is not installed here: {error}; {hint}") from error
    version = tuple(int(part) for part in vllm.__version__.split(".")[:2])
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ModelLoadError(
            f"vLLM {vllm.__version__} is too old: {oldest} is the oldest that control works with"
        )
    return vllm


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
