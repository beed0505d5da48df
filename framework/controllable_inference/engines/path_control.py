"""Control of running paths: their statistics, scores at step boundaries, and what a controller decides.

The same for every engine: it is told of tokens that were computed and drawn, and acts through `Rows`.
"""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from controllable_inference.core.agreement import ALONE
from controllable_inference.core.checks import check_decisions, check_scores
from controllable_inference.core.controller import Controller
from controllable_inference.core.features import STATISTICS, PathFeatures, TokenStatistics
from controllable_inference.core.views import Close, Decision, Inject, Probe, Prune, Spawn, Stop
from controllable_inference.engines.lifecycle import Lifecycle
from controllable_inference.engines.path import Path, PathGroup
from controllable_inference.engines.vocabulary import Vocabulary
from controllable_inference.errors import ControlConfigError

log = logging.getLogger(__name__)


TRIAL_TOKENS = 32
"""Most tokens of a trial answer. One that is longer by then is none."""


class PathControl:
    """slots: how many paths there is room for at first. hidden_size: the model's. device: of hidden states.

    spawns: paths that controllers have asked for and that are still to be started, by request.
    """

    def __init__(self, lifecycle: Lifecycle, slots: int, hidden_size: int, device: torch.device) -> None:
        self.lifecycle = lifecycle
        self.rows = lifecycle.rows
        self.spawns: dict[PathGroup, int] = {}
        self.features = PathFeatures(slots, hidden_size, device)
        self.newest = torch.zeros(slots, 3, device=device)  # statistics of tokens that are yet to be computed
        self._free = list(range(slots))

    def slot(self) -> int:
        if not self._free:
            size = len(self.newest)
            self.features.grow(2 * size)
            self.newest = torch.cat((self.newest, torch.zeros_like(self.newest)))
            self._free = list(range(size, 2 * size))
        slot = self._free.pop()
        self.features.reset([slot])
        return slot

    def release(self, group: PathGroup) -> None:
        self._free += [p.slot for p in group.paths]
        self.spawns.pop(group, None)

    def take_spawns(self) -> list[tuple[PathGroup, int]]:
        spawns, self.spawns = list(self.spawns.items()), {}
        return spawns

    def drawn(self, paths: Sequence[Path], statistics: TokenStatistics) -> None:
        """Keep the statistics of just drawn tokens until their hidden states are known."""
        rows = [at for at, p in enumerate(paths) if p.trial_of is None]
        slots = torch.tensor([paths[at].slot for at in rows], device=self.newest.device, dtype=torch.int64)
        newest = torch.stack(statistics, dim=1)
        self.newest.index_copy_(0, slots, newest if len(rows) == len(paths) else newest[rows])

    def computed(self, paths: Sequence[Path], hidden: Tensor) -> None:
        """hidden (paths, hidden size) at the newest token of each. Score and decide where it ended a step."""
        # What was written into a path is none of the model's own thinking, and ends no step of it.
        drawn = [not p.newest_is_written and p.trial_of is None for p in paths]
        rows = [at for at, p in enumerate(paths) if drawn[at] and p.group.traits.needs_features]
        if rows:
            slots = torch.tensor([paths[at].slot for at in rows], device=hidden.device)
            self.features.update(
                slots, hidden if len(rows) == len(paths) else hidden[rows], self.newest[slots]
            )
        ends_step = self.lifecycle.vocabulary.ends_step
        due = [at for at, p in enumerate(paths) if drawn[at] and p.stepping and ends_step(p)]
        for at in due:
            paths[at].boundaries.append(len(paths[at].tokens))
            paths[at].at_boundary = True
        if scored := [at for at in due if paths[at].group.traits.needs_features]:
            self._score([paths[at] for at in scored], hidden[scored])
        self.decide(dict.fromkeys(paths[at].group for at in due))
        for at in due:
            paths[at].at_boundary = False

    def _score(self, paths: Sequence[Path], hidden: Tensor) -> None:
        """All paths at a boundary in this step, of all requests, in one pass for each controller."""
        beside = [at for at, path in enumerate(paths) if path.group.traits.needs_siblings]
        for at in beside:
            self._enter_agreement(paths[at])
        groups, agreement = [[path.slot] for path in paths], [ALONE] * len(paths)
        for at in beside:
            path, siblings = paths[at], paths[at].group.paths
            groups[at] = [sibling.slot for sibling in siblings]
            agreement[at] = path.group.agreement.measure(path.index, len(siblings) - 1)
        features = self.features.boundary([p.slot for p in paths], hidden, groups, agreement)
        statistics = features[:, -len(STATISTICS) :].tolist()
        by_controller: dict[int, list[int]] = defaultdict(list)
        for at, path in enumerate(paths):
            path.statistics = tuple(statistics[at])
            by_controller[id(path.group.controller)].append(at)
        for rows in by_controller.values():
            self._score_with(paths[rows[0]].group.controller, [paths[at] for at in rows], features[rows])

    def _enter_agreement(self, path: Path) -> None:
        begin = path.boundaries[-2] if path.steps > 1 else 0
        written = self.lifecycle.vocabulary.detokenizer_for(path.group).decode(path.tokens[begin:])
        path.group.agreement.enter(path.index, written)

    def _score_with(self, controller: Controller, paths: Sequence[Path], features: Tensor) -> None:
        try:
            with torch.inference_mode():
                scores = check_scores(controller, controller.score(features), len(paths))
        except Exception as error:
            for group in dict.fromkeys(p.group for p in paths):
                self.lifecycle.controller_raised(group, error)
            return
        for path, score in zip(paths, scores, strict=True):
            if not self.lifecycle.is_here(path.group):
                continue
            if not 0 <= score <= 1:
                said = f"{type(controller).__name__} gave a path the score {score}, outside [0, 1]; "
                misfit = ControlConfigError(said + "the gate's weights do not fit this model")
                self.lifecycle.fail(path.group, misfit)
                continue
            # What the company in a batch does to the last digits must not decide a tie of votes.
            path.score = round(score, 4)
            path.scores += (path.score,)
            self.lifecycle.gated(path, path.score)

    def decide(self, groups: Iterable[PathGroup]) -> None:
        """Ask each request's controller, and do as it says."""
        for group in groups:
            if not self.lifecycle.is_here(group) or group.ending is not None:
                continue
            ask = functools.partial(_decisions, group, self.lifecycle.clock())
            for decision in self.lifecycle.ask(group, ask) or ():
                match decision:
                    case Prune(path, reason, detail) if group.paths[path].running:
                        self.lifecycle.end_path(group.paths[path], "pruned", reason, detail)
                    case Close(path, reason):
                        self.close(group.paths[path], reason)
                    case Probe(path):
                        self.probe(group.paths[path])
                    case Inject(path, text):
                        self.inject(group.paths[path], text)
                    case Stop(reason, detail):
                        self.end(group, reason, detail)
                        break
                    case Spawn(count):
                        self.spawns[group] = self.spawns.get(group, 0) + count

    def close(self, path: Path, reason: str) -> None:
        """End its thinking by force, as soon as its newest token is computed."""
        words = self.lifecycle.vocabulary
        if path.running and words.can_close(path):
            path.closed = reason
            path.to_write += words.closing or ()

    def probe(self, path: Path) -> None:
        """Start a trial beside it, which shares all that is computed of it."""
        words, group = self.lifecycle.vocabulary, path.group
        if not (path.running and path.is_computed and words.can_close(path)):
            return
        if any(trial.trial_of is path for trial in group.trying):
            return
        begun = [*path.tokens, *(words.closing or ()), *words.detokenizer_for(group).encode(words.cue)]
        cap = len(begun) + TRIAL_TOKENS
        trial = Path(group, path.index, path.key, path.slot, [], path.computed, False, cap)
        trial.tokens, trial.written = begun, len(begun)
        trial.trial_of, trial.trial_at = path, len(path.tokens)
        if self.rows.start_trial(trial):
            group.trying.append(trial)

    def inject(self, path: Path, text: str) -> None:
        """Write text into it, as soon as its newest token is computed; not if no room to answer were left."""
        words, group = self.lifecycle.vocabulary, path.group
        if not path.running or path.closed:
            return
        assert group.plan is not None
        tokens = words.detokenizer_for(group).encode(text)
        cap = (group.plan.thinking_cap if words.can_close(path) else None) or path.cap
        if len(path.tokens) + len(path.to_write) + len(tokens) < cap:
            path.to_write += tokens
        else:
            told = "request %d: text of %d tokens is not written into path %d, which has %d of %d tokens"
            log.warning(told, group.id, len(tokens), path.index, len(path.tokens), cap)

    def end(self, group: PathGroup, reason: str, detail: str = "") -> None:
        """End a request: at once where a path has an answer, or none could give one. Else with the answer of
        the path that is closest to one, which stops thinking now.
        """
        words = self.lifecycle.vocabulary
        if group.ending is not None:
            return
        closing = words.closing is not None
        answering = [p for p in group.running_paths if closing and (words.can_close(p) or _answers(p, words))]
        if not answering or any(p.answer is not None for p in group.paths):
            self.lifecycle.complete(group, reason, detail)
            return
        closest = max(answering, key=lambda p: (_answers(p, words), p.score or 0.0, -p.index))
        group.ending = (reason, detail)
        self.spawns.pop(group, None)
        for path in group.running_paths:
            if path is not closest:
                self.lifecycle.end_path(path, "stopped", reason, detail)
        self.close(closest, reason)
        plan = group.plan
        if plan is not None and plan.thinking_cap is not None:
            room = plan.token_cap - plan.thinking_cap  # what was kept for closing and answer
            closest.cap = min(closest.cap, len(closest.tokens) + room)


def _answers(path: Path, words: Vocabulary) -> bool:
    """Whether it has ended its thinking, and writes its answer."""
    return words.thought_end(path.group) is not None and not path.stepping


def _decisions(group: PathGroup, now: float) -> list[Decision]:
    view = group.view(now)
    return check_decisions(group.controller, group.controller.decide(view), view.plan, len(view.paths))
