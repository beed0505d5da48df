"""How paths and requests end, and who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from controllable_inference.core import events
from controllable_inference.core.answer import content
from controllable_inference.core.checks import check_answer, raised
from controllable_inference.core.request import Fate
from controllable_inference.core.views import Answer, Trial
from controllable_inference.engines.metrics import Metrics
from controllable_inference.engines.outcome import NATURAL, result_of
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.rows import Rows, drop
from controllable_inference.engines.stream import stream
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import ControllableError

log = logging.getLogger(__name__)
T = TypeVar("T")


class Lifecycle:
    """Everything that leaves the engine goes through here: events, metrics, freed blocks, freed slots."""

    def __init__(
        self,
        rows: Rows,
        vocabulary: Vocabulary,
        metrics: Metrics,
        clock: Callable[[], float],
        on_release: Callable[[PathGroup], None],
    ) -> None:
        self.rows = rows
        self.vocabulary = vocabulary
        self.metrics = metrics
        self._uncounted = Metrics()
        self.clock = clock
        self._on_release = on_release

    def is_here(self, group: PathGroup) -> bool:
        return group in self.rows.running or group in self.rows.waiting

    def metrics_of(self, group: PathGroup) -> Metrics:
        """Where to count what comes of a request."""
        return self.metrics if group.counted else self._uncounted

    # paths

    def started(self, path: Path) -> None:
        self._trace(path.group, events.PathStarted(path.index))

    def gated(self, path: Path, score: float) -> None:
        self.metrics_of(path.group).observe("controllable_gate_score", score)
        self._trace(path.group, events.PathGated(path.index, score, len(path.tokens), path.steps))

    def closed(self, path: Path) -> None:
        self.metrics_of(path.group).count("controllable_paths_closed_total")
        self._trace(path.group, events.PathClosed(path.index, path.closed, len(path.tokens)))

    def end_path(self, path: Path, fate: Fate, reason: str, detail: str = "") -> None:
        """Give it its fate, its text and answer; free its blocks at once; tell. detail: for people."""
        self._give_fate(path, fate, reason, detail)
        path.at_boundary = False
        for trial in [t for t in path.group.trying if t.trial_of is path]:
            drop(trial, self.rows)
        self.rows.free(path)
        group, words = path.group, self.vocabulary
        tokens = path.tokens[:-1] if reason == "eos" else path.tokens
        detokenizer = words.detokenizer_for(group)
        path.text = words.cut(detokenizer.after(group.prompt, tokens), group)
        ends = detokenizer.ends(group.prompt, tokens, path.boundaries)
        path.step_ends = tuple(min(end, len(path.text)) for end in ends)
        path.growing = None
        if fate == "kept":
            if reason in NATURAL:  # what its cap has cut off has no vote
                said = content(path.text, words.thought_end(group))
                if said is None and words.lenient:
                    said = path.text  # a model that need not think is taken at its word if it has not
                path.answer, path.answer_key = self._answer_in(said, group)
                if path.answer_key is not None:
                    group.agreement.finish(path.answer_key)
            self._trace(group, events.PathFinished(path.index, reason, path.answer, len(path.tokens)))
        elif fate == "pruned":
            self._trace(group, events.PathPruned(path.index, reason, path.score, len(path.tokens)))
        else:
            self._trace(group, events.PathStopped(path.index, reason, len(path.tokens)))

    def end_trial(self, trial: Path, said: str | None) -> None:
        """Free its blocks, and let its path have what it came to.

        said: what stands behind the thinking; None if it did not come to its end.
        """
        group, path = trial.group, trial.trial_of
        assert path is not None
        path.trials += (Trial(trial.trial_at, *self._answer_in(said, group)),)
        trial.fate = "kept"
        drop(trial, self.rows)

    def _answer_in(self, said: str | None, group: PathGroup) -> tuple[str | None, str | None]:
        """The answer in what stands behind the thinking, and its key. An equality that fails is counted."""
        if not said or not said.strip():
            return None, None
        failures = group.answers.failures
        answer = group.answers.extract(said)
        key = None if answer is None else group.answers.key(answer)
        if group.answers.failures > failures:
            self.metrics_of(group).count("controllable_answers_not_compared_total")
        return answer, key

    def _give_fate(self, path: Path, fate: Fate, reason: str, detail: str = "") -> None:
        """Every path that was granted tokens comes here once, however its request ends."""
        path.fate, path.reason, path.detail = fate, reason, detail
        metrics = self.metrics_of(path.group)
        metrics.count("controllable_paths_total", fate=fate)
        metrics.count("controllable_budget_tokens_total", len(path.tokens), kind="used")

    # requests

    def complete(self, group: PathGroup, reason: str, detail: str = "") -> None:
        """Stop what runs, vote, send the result. reason: finished, decided, deadline, cancelled, ..."""
        cancelled = reason == "cancelled"
        for path in group.running_paths:
            self.end_path(path, "cancelled" if cancelled else "stopped", reason, detail)
        answer: Answer | None = Answer(None, 0.0, {})
        if not cancelled:
            answer = self.ask(group, lambda: _answer(group, self.clock()))
        if answer is None:
            return
        now = self.clock()
        result = result_of(group, answer, reason, self.vocabulary.thought_end(group), now)
        self._release(group)
        self.stream(group)
        if not cancelled:
            self._trace(group, events.Vote(result.answer, result.confidence, answer.weights, reason))
            sent = group.sent_answer
            if len(result.content) > sent:
                index = answer.winner if answer.winner is not None else group.leader or 0
                self._emit(group, events.Delta(index, "answer", result.content[sent:]))
        metrics = self.metrics_of(group)
        metrics.count("controllable_requests_total", outcome="cancelled" if cancelled else "completed")
        metrics.count("controllable_tokens_total", result.usage.tokens_saved, kind="saved")
        metrics.observe("controllable_request_duration_seconds", now - group.submitted_at)
        self._emit(group, events.Done(result.finish_reason, result))

    def fail(self, group: PathGroup, error: ControllableError, outcome: str = "failed") -> None:
        """Nothing follows what a client is told here: its paths are at their end without a word."""
        self._release(group)
        for path in group.running_paths:
            self._give_fate(path, "cancelled", "failed")
        metrics = self.metrics_of(group)
        metrics.count("controllable_requests_total", outcome=outcome)
        metrics.observe("controllable_request_duration_seconds", self.clock() - group.submitted_at)
        self._emit(group, events.Failed(type(error).__name__, str(error)))

    def ask(self, group: PathGroup, question: Callable[[], T]) -> T | None:
        """A controller's word; None where it raised, which fails its request and no other."""
        try:
            return question()
        except Exception as error:
            self.controller_raised(group, error)
            return None

    def controller_raised(self, group: PathGroup, error: Exception) -> None:
        named = raised(group.controller, error)
        log.error("request %d fails: %s", group.id, named, exc_info=error)
        self.fail(group, named)

    def stream(self, group: PathGroup) -> None:
        if group.streaming and group.plan is not None:
            for event in stream(group, self.vocabulary.thought_end(group)):
                self._emit(group, event)

    def _release(self, group: PathGroup) -> None:
        for trial in tuple(group.trying):
            drop(trial, self.rows)
        self.rows.release(group)
        self._on_release(group)

    def _trace(self, group: PathGroup, event: events.Event) -> None:
        if group.budget.trace != "none":
            self._emit(group, event)

    def _emit(self, group: PathGroup, event: events.Event) -> None:
        try:
            group.on_event(event)
        except Exception:  # one client's trouble must not end the others' requests
            log.exception("the receiver of request %d's events failed on %s", group.id, event.type)


def _answer(group: PathGroup, now: float) -> Answer:
    return check_answer(group.controller, group.controller.answer(group.view(now)), len(group.paths))
