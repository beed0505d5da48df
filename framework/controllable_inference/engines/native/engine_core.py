"""One step of the engine: everything between two forward passes. No threads, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from controllable_inference.core.checks import check_plan
from controllable_inference.core.views import Plan, PromptView
from controllable_inference.engines.adapters.attached import Adapters
from controllable_inference.engines.detokenizer import GrowingText
from controllable_inference.engines.metrics import Metrics
from controllable_inference.engines.native.batch import inputs_of, sampling_batch
from controllable_inference.engines.native.judge import Judge
from controllable_inference.engines.native.lifecycle import Lifecycle
from controllable_inference.engines.native.model_runner import ModelRunner
from controllable_inference.engines.native.sampler import path_key, sample
from controllable_inference.engines.native.scheduler import PrefillChunk, Scheduler, Step
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import ControllerError, DeadlineExceeded, ModelOutputError, QueueTimeout

MOST_PATHS = 1024
"""Of one request, one after another: who wants more has no end in mind, and would never let go."""


class EngineCore:
    """Ties scheduler, model, sampler and control together; must be used by one thread at a time.

    room: most positions of one path, its prompt included. queue_timeout: seconds.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler,
        vocabulary: Vocabulary,
        metrics: Metrics,
        clock: Callable[[], float],
        room: int,
        queue_timeout: float,
        adapters: Adapters,
    ) -> None:
        self.runner = runner
        self.scheduler = scheduler
        self.vocabulary = vocabulary
        self.metrics = metrics
        self.clock = clock
        self.room = room
        self.queue_timeout = queue_timeout
        self.adapters = adapters
        self.steps = 0
        self.lifecycle = Lifecycle(scheduler, vocabulary, metrics, clock, self._forget)
        self.judge = Judge(self.lifecycle, scheduler.max_rows, runner.hidden_size, runner.device)

    @property
    def groups(self) -> list[PathGroup]:
        return [*self.scheduler.running, *self.scheduler.waiting]

    def add(self, group: PathGroup) -> None:
        self.scheduler.waiting.append(group)

    def cancel(self, group: PathGroup) -> None:
        """End a request and free all it holds; nothing happens if it has ended already."""
        if self.lifecycle.is_here(group):
            self.lifecycle.complete(group, "cancelled")

    def step(self) -> None:
        began = self.clock()
        self._expire(began)
        for group in self.scheduler.admit(began):
            metrics = self.lifecycle.metrics_of(group)
            metrics.observe("controllable_queue_duration_seconds", began - group.submitted_at)
            metrics.count("controllable_tokens_total", len(group.prompt), kind="prompt")
        step = self.scheduler.schedule()
        for path in step.evicted:
            assert path.fate is not None
            self.lifecycle.end_path(path, path.fate, path.reason)
        if step.decode or step.chunks:
            if self.adapters.have_weights:
                owners = [(p.group.adapter, 1) for p in step.decode]
                owners += [(chunk.group.adapter, len(chunk.tokens)) for chunk in step.chunks]
                self.adapters.select(owners, self.runner.device)
            inputs = inputs_of(step, self.runner.cache.block_size)
            batch, logits, hidden = self.runner.compute(inputs)
            self._fail_unsound(step, logits)
            rows = len(step.decode)
            self._decoded(step.decode, hidden[:rows], logits[:rows])
            for chunk, part, row in zip(step.chunks, batch.paged.chunks, logits[rows:], strict=True):
                self._chunk_computed(chunk, hidden[part.begin : part.end], row)
        self._start_paths()
        self._settle()
        self.steps += 1
        self.metrics.observe("controllable_engine_step_seconds", self.clock() - began)
        self.report_gauges()

    def report_gauges(self) -> None:
        blocks = self.scheduler.blocks
        self.metrics.gauge("controllable_requests_running", len(self.scheduler.running))
        self.metrics.gauge("controllable_requests_waiting", len(self.scheduler.waiting))
        self.metrics.gauge("controllable_kv_blocks", blocks.used, state="used")
        self.metrics.gauge("controllable_kv_blocks", blocks.free, state="free")

    def _expire(self, now: float) -> None:
        for group in self.groups:
            if group.deadline_at is not None and now >= group.deadline_at:
                if group.first_token_at is None:
                    self.lifecycle.fail(group, _too_late(group), "timeout")
                else:
                    self.judge.end(group, "deadline")
            elif group.admitted_at is None and now - group.submitted_at > self.queue_timeout:
                waited = QueueTimeout(f"no place came free within {self.queue_timeout} s; try again later")
                self.lifecycle.fail(group, waited, "timeout")

    def _fail_unsound(self, step: Step, logits: Tensor) -> None:
        """End requests for which the model computed no numbers, and leave nothing of that in the cache.

        logits (wanted rows of the step, vocabulary). What is masked is read all the same, and not-a-number
        stays so however little it weighs: blocks that others get next must hold numbers.
        """
        sound = logits.amax(-1).isfinite()  # so are not: NaN anywhere in a row, +inf, nothing but -inf
        if sound.all():
            return
        owners = [*(p.group for p in step.decode), *(chunk.group for chunk in step.chunks)]
        unsound = [group for group, fine in zip(owners, sound.tolist(), strict=True) if not fine]
        for group in dict.fromkeys(unsound):
            tables = [group.prompt_table, *(path.table for path in group.all_rows)]
            self.runner.clear(sorted({block for table in tables for block in table}))
            error = ModelOutputError(
                "the model's output for this request is no distribution over tokens (logits not-a-number or "
                "infinite); its weights may be damaged, or its numbers too large for this precision"
            )
            self.lifecycle.fail(group, error)

    # prompts

    def _chunk_computed(self, chunk: PrefillChunk, hidden: Tensor, logits: Tensor) -> None:
        """hidden (tokens of the chunk, hidden size); logits (vocabulary,) behind its last token."""
        group = chunk.group
        if not self.lifecycle.is_here(group):
            return
        if chunk.path is not None:
            chunk.path.computed = chunk.end
            return
        group.prompt_computed = chunk.end
        if group.plan is None and group.traits.needs_prompt_hidden:
            group.prompt_hidden.append(hidden)
        if group.prompt_done and group.plan is None:
            self._plan(group)
        if group.prompt_done and group.plan is not None:  # not so if fast mode continues another prompt
            group.prompt_logits = logits.clone()
            for path in group.running_rows:  # it was preempted, and is computed again
                self.scheduler.fork_prompt(path)
            if not group.paths:
                self._add_paths(group, group.plan.paths)

    def _plan(self, group: PathGroup) -> None:
        hidden = torch.cat(group.prompt_hidden) if group.prompt_hidden else None
        group.prompt_hidden.clear()
        room = self.room - len(group.prompt)
        view = PromptView(
            len(group.prompt),
            hidden,
            room,
            group.sampling,
            group.budget,
            group.adapter.adapter.budget_scale if group.adapter else 1.0,
            None if self.vocabulary.closing is None else len(self.vocabulary.closing),
        )
        plan = self.lifecycle.ask(group, lambda: _plan_of(group, view, self.room))
        if plan is None:
            return
        if plan.mode == "fast" and group.ids.fast != group.prompt:
            common = _common_prefix(group.prompt, group.ids.fast)
            group.prompt = group.ids.fast
            group.prompt_computed = min(common, len(group.prompt) - 1)
            self.scheduler.blocks.trim(group.prompt_table, group.prompt_computed)
        group.plan = plan
        self.lifecycle.metrics_of(group).observe("controllable_budget_coefficient", plan.coefficient)

    # paths

    def _add_paths(self, group: PathGroup, count: int) -> None:
        assert group.plan is not None
        for _ in range(min(count, group.most_paths - len(group.running_paths))):
            index = len(group.paths)
            stepping = group.plan.mode == "slow"
            key, cap = path_key(group.seed, index), group.plan.token_cap
            path = Path(group, index, key, self.judge.slot(), [], 0, stepping, cap)
            self.scheduler.fork_prompt(path)
            if self.vocabulary.needs_text(group):
                path.growing = GrowingText(self.vocabulary.detokenizer_for(group), group.prompt)
            group.paths.append(path)
            group.starting.append(path)
            self.lifecycle.started(path)
            metrics = self.lifecycle.metrics_of(group)
            metrics.count("controllable_budget_tokens_total", group.plan.token_cap, kind="granted")

    def _start_paths(self) -> None:
        """Draw the first tokens of new paths, from the logits of their prompts."""
        ready = [g for g in self.scheduler.running if g.starting and g.prompt_done]
        paths = [p for g in ready for p in g.starting if p.running]
        for group in ready:
            group.starting.clear()
        if paths:
            self._draw(paths, torch.stack([p.group.prompt_logits for p in paths]))  # type: ignore[misc]

    def _decoded(self, paths: Sequence[Path], hidden: Tensor, logits: Tensor) -> None:
        """hidden (paths, hidden size), logits (paths, vocabulary) at the newest token of each path."""
        sound = [at for at, path in enumerate(paths) if path.running]
        if not sound:
            return
        if len(sound) < len(paths):
            paths, hidden, logits = [paths[at] for at in sound], hidden[sound], logits[sound]
        for path in paths:
            path.computed += 1
        self.judge.computed(paths, hidden)
        for path in paths:
            if path.running and path.to_write:
                self._write(path)
        going_on = [at for at, path in enumerate(paths) if path.running and path.is_computed]
        if len(going_on) == len(paths):
            self._draw(paths, logits)
        elif going_on:
            self._draw([paths[at] for at in going_on], logits[going_on])

    def _draw(self, paths: Sequence[Path], logits: Tensor) -> None:
        logits = self.adapters.forbid_foreign(logits, [p.group.adapter for p in paths])
        tokens, statistics = sample(logits, sampling_batch(paths))
        self.judge.drawn(paths, statistics)
        counted = sum(path.group.counted for path in paths)
        self.metrics.count("controllable_tokens_total", counted, kind="path")
        now = self.clock()
        for path, token in zip(paths, tokens.tolist(), strict=True):
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
            self.judge.close(path, "length")

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
        """What is to be written into a path, behind tokens that are all computed."""
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

    # requests

    def _settle(self) -> None:
        """Decide where paths have finished, send new text, complete what nothing runs of any more."""
        self.judge.decide([g for g in self.scheduler.running if g.take_ended()])
        for group, count in self.judge.take_spawns():
            if len(group.paths) + count > MOST_PATHS:
                said = f"{type(group.controller).__name__} has started {len(group.paths)} paths"
                error = ControllerError(f"{said} of one request and wants {count} more")
                self.lifecycle.fail(group, error)
            else:
                self._add_paths(group, count)
        for group in self.groups:
            if group.paths and not group.running_paths:
                self.lifecycle.complete(group, *(group.ending or ("finished",)))
            elif group.streaming:
                self.lifecycle.stream(group)

    def _forget(self, group: PathGroup) -> None:
        self.judge.release(group)


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


def _common_prefix(a: list[int], b: list[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
