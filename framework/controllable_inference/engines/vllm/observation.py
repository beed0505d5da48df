"""What control needs of each step that vLLM makes, read inside vLLM's worker and handed to its scheduler.

`ObservingWorker` adds methods to the worker, which vLLM mixes in by its `worker_extension_cls`. They wrap the
model runner's `sample_tokens`, between the forward pass and the draw: outside CUDA graphs and compiled code,
with whatever model. What was read travels as an attribute of vLLM's own output, to `ObservingScheduler`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from vllm.v1.core.sched.scheduler import Scheduler

from controllable_inference.core.features import token_statistics

OBSERVE = "controllable_observe"
"""Key of a request's `extra_args`: "rows" for statistics and hidden state of each drawn token, "prompt" for
the hidden states of its prompt; left out for nothing."""

NEEDED = ("sample_tokens", "execute_model_state", "input_batch", "requests")
"""Of vLLM's model runner (V1)."""


@dataclass
class Observation:
    """One step. rows: by vLLM's request id, where in the tensors its newest token is.

    hidden (rows, hidden size): final hidden states at the positions that tokens were drawn from. statistics
    (rows, 3): log-probability, entropy and confidence of the drawn tokens. prompts: by request id, the hidden
    states (tokens, hidden size) of the piece of its prompt that was computed.
    """

    rows: dict[str, int]
    hidden: Tensor
    statistics: Tensor
    prompts: dict[str, Tensor] = field(default_factory=dict)


class ObservingWorker:
    """Mixed into vLLM's worker class."""

    model_runner: Any

    def observe(self, to_host: bool) -> str:
        """Begin to observe. to_host: whether what is seen has to leave the device, for another process.

        Returns what is missing in this version of vLLM, "" if nothing is.
        """
        runner = self.model_runner
        if missing := [name for name in NEEDED if not hasattr(runner, name)]:
            return f"{type(runner).__module__} has no {', '.join(missing)}"
        sample_tokens = runner.sample_tokens

        def observed(grammar_output: Any) -> Any:
            state = runner.execute_model_state
            if state is None or state.logits is None:
                return sample_tokens(grammar_output)
            wanted = _wanted(runner)
            # Before the draw: it changes the logits in place.
            log_probs = torch.log_softmax(state.logits.float(), dim=-1) if wanted else None
            prompts = _prompts(runner, state, wanted)
            output = sample_tokens(grammar_output)
            if log_probs is not None:
                output.observation = _observation(output, state, log_probs, prompts, to_host)
            return output

        runner.sample_tokens = observed
        return ""


class ObservingScheduler(Scheduler):
    """vLLM's scheduler, which keeps what was observed in the latest step."""

    observation: Observation | None = None

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        self.observation = getattr(model_runner_output, "observation", None)
        return super().update_from_output(scheduler_output, model_runner_output)


def _wanted(runner: Any) -> dict[str, str]:
    """What is to be observed, by request id; of all requests in this step's batch."""
    found = {}
    for request_id in runner.input_batch.req_ids:
        sampling = runner.requests[request_id].sampling_params
        if what := (sampling.extra_args or {}).get(OBSERVE):
            found[request_id] = what
    return found


def _prompts(runner: Any, state: Any, wanted: dict[str, str]) -> dict[str, Tensor]:
    """Hidden states of prompts that were computed in this step, whole or in part."""
    pieces = {}
    end = 0
    for request_id in runner.input_batch.req_ids:
        begin, end = end, end + state.scheduler_output.num_scheduled_tokens[request_id]
        if wanted.get(request_id) == "prompt":
            pieces[request_id] = state.hidden_states[begin:end].clone()
    return pieces


def _observation(
    output: Any, state: Any, log_probs: Tensor, prompts: dict[str, Tensor], to_host: bool
) -> Observation:
    drawn = output.sampled_token_ids  # one list a request; empty where a prompt is not computed to its end
    rows = {request_id: at for at, request_id in enumerate(output.req_ids) if len(drawn[at]) > 0}
    newest = [tokens[-1] if len(tokens) else 0 for tokens in drawn]
    tokens = torch.tensor(newest, device=log_probs.device)
    statistics = torch.stack(token_statistics(log_probs, tokens), dim=1)
    hidden = state.sample_hidden_states
    if to_host:
        hidden, statistics = hidden.float().cpu(), statistics.cpu()
        prompts = {request_id: piece.float().cpu() for request_id, piece in prompts.items()}
    return Observation(rows, hidden, statistics, prompts)
