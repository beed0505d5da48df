"""What becomes of each token of each path: the same for every engine, between any two of its forward passes.

An engine calls, in this order and as far as there is something to tell: `expire`, `admitted`, `plan` and
`add_paths` for computed prompts, `computed` for paths whose newest token has been computed, `drawn` for their
next tokens, `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from controllable_inference.core.checks import check_plan
from controllable_inference.core.features import TokenStatistics
from controllable_inference.core.views import Plan, PromptView
from controllable_inference.engines.detokenizer import GrowingText
from controllable_inference.engines.lifecycle import Lifecycle
from controllable_inference.engines.metrics import Metrics
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.path_control import PathControl
from controllable_inference.engines.path_key import path_key
from controllable_inference.engines.rows import Rows
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import ControllerError, DeadlineExceeded, ModelOutputError, QueueTimeout

MOST_PATHS = 1024
"""Of one request, one after another: who wants more has no end in mind, and would never let go."""


class OutputProcessor:
    """room: most positions of one path, its prompt included. queue_timeout: seconds."""

    def __init__(
        self,
        rows: Rows,
        vocabulary: Vocabulary,
        metrics: Metrics,
        clock: Callable[[], float],
        room: int,
        queue_timeout: float,
        hidden_size: int,
        device: torch.device,
    ) -> None:
        self.rows = rows
        self.vocabulary = vocabulary
        self.metrics = metrics
        self.clock = clock
        self.room = room
        self.queue_timeout = queue_timeout
        self.lifecycle = Lifecycle(rows, vocabulary, metrics, lambda: self.clock(), self._forget)
        self.control = PathControl(self.lifecycle, rows.max_rows, hidden_size, device)

    # requests

    @property
    def groups(self) -> list[PathGroup]:
        return [*self.rows.running, *self.rows.waiting]

    def cancel(self, group: PathGroup) -> None:
        """End a request and free all it holds; nothing happens if it has ended already."""
        if self.lifecycle.is_here(group):
            self.lifecycle.complete(group, "cancelled")

    def expire(self, now: float) -> None:
        """End requests whose deadline has passed, or that have waited too long."""
        for group in self.groups:
            if group.deadline_at is not None and now >= group.deadline_at:
                if group.first_token_at is None:
                    self.lifecycle.fail(group, _too_late(group), "timeout")
                else:
                    self.control.end(group, "deadline")
            elif group.admitted_at is None and now - group.submitted_at > self.queue_timeout:
                waited = QueueTimeout(f"no place came free within {self.queue_timeout} s; try again later")
                self.lifecycle.fail(group, waited, "timeout")

    def fail_unsound(self, group: PathGroup) -> None:
        """End a request for which the model computed no numbers."""
        error = ModelOutputError(
            "the model's output for this request is no distribution over tokens (logits not-a-number or "
            "infinite); its weights may be damaged, or its numbers too large for this precision"
        )
        self.lifecycle.fail(group, error)

    def admitted(self, groups: Iterable[PathGroup], now: float) -> None:
        """Count requests that begin to be computed."""
        for group in groups:
            metrics = self.lifecycle.metrics_of(group)
            metrics.observe("controllable_queue_duration_seconds", now - group.submitted_at)
            metrics.count("controllable_tokens_total", len(group.prompt), kind="prompt")

    def plan(self, group: PathGroup, hidden: Tensor | None) -> Plan | None:
        """Have a request's controller plan it, and let it continue the prompt that the plan's mode needs.

        hidden (tokens, hidden size): of the prompt, where the controller asks for that. None if the request
        has failed by it.
        """
        view = PromptView(
            len(group.prompt),
            hidden,
            self.room - len(group.prompt),
            group.sampling,
            group.budget,
            group.adapter.adapter.budget_scale if group.adapter else 1.0,
            None if self.vocabulary.closing is None else len(self.vocabulary.closing),
        )
        plan = self.lifecycle.ask(group, lambda: _plan_of(group, view, self.room))
        if plan is None:
            return None
        if plan.mode == "fast":
            group.prompt = group.ids.fast
        group.plan = plan
        self.lifecycle.metrics_of(group).observe("controllable_budget_coefficient", plan.coefficient)
        return plan

    def settle(self) -> None:
        """Decide where paths have finished, send new text, complete what nothing runs of any more."""
        self.control.decide([g for g in self.rows.running if g.take_ended()])
        for group, count in self.control.take_spawns():
            if len(group.paths) + count > MOST_PATHS:
                started = f"{type(group.controller).__name__} has started {len(group.paths)} paths"
                error = ControllerError(f"{started} of one request and wants {count} more")
                self.lifecycle.fail(group, error)
            else:
                self.add_paths(group, count)
        for group in self.groups:
            if group.paths and not group.running_paths:
                self.lifecycle.complete(group, *(group.ending or ("finished",)))
            elif group.streaming:
                self.lifecycle.stream(group)

    def report_gauges(self, used_blocks: int, free_blocks: int) -> None:
        self.metrics.gauge("controllable_requests_running", len(self.rows.running))
        self.metrics.gauge("controllable_requests_waiting", len(self.rows.waiting))
        self.metrics.gauge("controllable_kv_blocks", used_blocks, state="used")
        self.metrics.gauge("controllable_kv_blocks", free_blocks, state="free")

    # paths

    def add_paths(self, group: PathGroup, count: int) -> None:
        """Start paths, as far as the request's plan and the engine's rows allow."""
        assert group.plan is not None
        for _ in range(min(count, group.most_paths - len(group.running_paths))):
            index = len(group.paths)
            stepping = group.plan.mode == "slow"
            key, cap = path_key(group.seed, index), group.plan.token_cap
            path = Path(group, index, key, self.control.slot(), [], 0, stepping, cap)
            self.rows.start(path)
            if self.vocabulary.needs_text(group):
                path.growing = GrowingText(self.vocabulary.detokenizer_for(group), group.prompt)
            group.paths.append(path)
            group.starting.append(path)
            self.lifecycle.started(path)
            metrics = self.lifecycle.metrics_of(group)
            metrics.count("controllable_budget_tokens_total", group.plan.token_cap, kind="granted")

    def computed(self, paths: Sequence[Path], hidden: Tensor) -> list[int]:
        """Take in that the newest token of each running path has been computed, and decide at ends of steps.

        hidden (paths, hidden size): at those tokens. Returns which of the paths draw their next token now:
        not those that have ended by it, nor those that something was written into.
        """
        for path in paths:
            path.computed += 1
        self.control.computed(paths, hidden)
        for path in paths:
            if path.running and path.to_write:
                self._write(path)
        return [at for at, path in enumerate(paths) if path.running and path.is_computed]

    def drawn(self, paths: Sequence[Path], tokens: Sequence[int], statistics: TokenStatistics) -> None:
        """Append a token to each path, and end those that come to their end by it."""
        self.control.drawn(paths, statistics)
        counted = sum(path.group.counted for path in paths)
        self.metrics.count("controllable_tokens_total", counted, kind="path")
        now = self.clock()
        for path, token in zip(paths, tokens, strict=True):
            if path.trial_of is None:
                self._append(path, token, now)
            elif path.running:  # not if its path has ended by the token before
                self._append_to_trial(path, token)

    def _append(self, path: Path, token: int, now: float) -> None:
        group, words = path.group, self.vocabulary
        assert group.plan is not None
        path.tokens.append(token)
        if group.first_token_at is None:
            group.first_token_at = now
            waited = now - group.submitted_at
            self.lifecycle.metrics_of(group).observe("controllable_time_to_first_token_seconds", waited)
        if token in words.eos:
            self.lifecycle.end_path(path, "kept", "eos")
            return
        if path.growing is not None:
            text = path.growing.advance(path.tokens)
            if group.sampling.stop and words.stop_at(text, group) >= 0:
                self.lifecycle.end_path(path, "kept", "stop")
                return
        if path.stepping:
            path.reasoning_tokens += words.think_end is not None
            path.stepping = not words.ends_thinking(path, token)
        if len(path.tokens) >= path.cap:
            self.lifecycle.end_path(path, "kept", "length")
        elif path.stepping and _has_thought(path):
            self.control.close(path, "length")

    def _append_to_trial(self, trial: Path, token: int) -> None:
        """It ends with its text or its first line, whichever comes first."""
        words, group = self.vocabulary, trial.group
        trial.tokens.append(token)
        group.trial_tokens += 1
        ends = token in words.eos
        text = words.detokenizer_for(group).decode(trial.tokens[trial.written : -1 if ends else None])
        if ends or "\n" in text.lstrip():
            self.lifecycle.end_trial(trial, words.cue + text)
        elif len(trial.tokens) >= trial.cap:
            self.lifecycle.end_trial(trial, None)

    def _write(self, path: Path) -> None:
        """Append what is to be written into a path, behind tokens that are all computed."""
        words = self.vocabulary
        thought = len(path.to_write) - (len(words.closing or ()) if path.closed else 0)
        for at, token in enumerate(path.to_write):
            path.tokens.append(token)
            if path.growing is not None:
                path.growing.advance(path.tokens)
            path.reasoning_tokens += path.stepping and at < thought
            path.stepping = path.stepping and not words.ends_thinking(path, token)
        path.to_write.clear()
        path.written = len(path.tokens)
        if path.closed:
            path.stepping = False
            self.lifecycle.closed(path)
        if len(path.tokens) >= path.cap:
            self.lifecycle.end_path(path, "kept", "length")

    def _forget(self, group: PathGroup) -> None:
        self.control.release(group)


def _plan_of(group: PathGroup, view: PromptView, room: int) -> Plan:
    plan = check_plan(group.controller, group.controller.plan(view))
    prompt = group.ids.fast if plan.mode == "fast" else group.prompt
    asked, thinking_cap = group.budget.thinking_tokens, plan.thinking_cap
    if asked and plan.mode == "slow":  # a client's own, whatever the controller makes of it
        thinking_cap = min(asked, thinking_cap or asked)
    return replace(plan, token_cap=min(plan.token_cap, room - len(prompt)), thinking_cap=thinking_cap)


def _has_thought(path: Path) -> bool:
    """Whether it has spent its thinking cap."""
    plan = path.group.plan
    return plan is not None and plan.thinking_cap is not None and len(path.tokens) >= plan.thinking_cap


def _too_late(group: PathGroup) -> DeadlineExceeded:
    passed = f"the deadline of {group.budget.deadline} s passed"
    if group.admitted_at is None:
        return DeadlineExceeded(
            f"{passed} while the request waited in the queue; allow more time, or try again later"
        )
    return DeadlineExceeded(f"{passed} before the first token; allow more time, or send a shorter prompt")
