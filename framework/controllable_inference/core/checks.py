"""Whether what a controller says can be done.

A controller is somebody's own code, so the engine takes nothing on trust: what makes no sense, or raises,
fails the request that it was said of, and names who said it.
"""

from __future__ import annotations

import math
import traceback
from numbers import Integral, Real
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from controllable_inference.core.controller import Controller
from controllable_inference.core.views import Answer, Close, Decision, Inject, Plan, Probe, Prune, Spawn, Stop
from controllable_inference.errors import ControllerError

ROUNDING = 1e-6
"""How far a share may lie outside [0, 1]."""


class Traits(NamedTuple):
    """A controller's attributes, read once for each request: whatever they become later, it runs by these."""

    most_paths: int
    needs_prompt_hidden: bool
    needs_features: bool
    needs_siblings: bool


def check_controller(controller: Controller) -> Traits:
    """Raises ControllerError, as all checks do, unless its attributes are there and mean something."""
    try:
        traits = Traits(*(getattr(controller, name) for name in Traits._fields))
    except Exception as error:  # a property may raise anything
        raise raised(controller, error) from error
    if not _is_count(traits.most_paths):
        _refuse(controller, "most_paths", traits.most_paths, "is no whole number of at least 1")
    for name, need in zip(Traits._fields[1:], traits[1:], strict=True):
        if not isinstance(need, bool):
            _refuse(controller, name, need, "is neither True nor False")
    return traits


def check_plan(controller: Controller, plan: Any) -> Plan:
    """The same for a plan: whether a request can be run by it."""
    if not isinstance(plan, Plan):
        _refuse(controller, "plan", plan, "is no Plan")
    counts = {"paths": plan.paths, "token_cap": plan.token_cap}
    for name in ("max_paths", "thinking_cap"):
        if (count := getattr(plan, name)) is not None:
            counts[name] = count
    for name, count in counts.items():
        if not _is_count(count):
            _refuse(controller, "plan", plan, f"{name} is no whole number of at least 1")
    if plan.mode not in ("slow", "fast"):
        _refuse(controller, "plan", plan, "mode is neither slow nor fast")
    if not _is_finite(plan.coefficient):
        _refuse(controller, "plan", plan, "coefficient is no finite number")
    return plan


def check_scores(controller: Controller, scores: Any, paths: int) -> list[float]:
    """One number a path; whether each lies in [0, 1] is another question, and one for each path alone."""
    if not isinstance(scores, Tensor) or scores.shape != (paths,) or scores.dtype == torch.bool:
        shape = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else repr(scores)
        _refuse(controller, "score", shape, f"is not one number for each of {paths} paths")
    return [float(score) for score in scores.tolist()]


def check_decisions(controller: Controller, decisions: Any, plan: Plan, paths: int) -> list[Decision]:
    """paths: how many the request has started so far. Pruning one that has ended by now changes nothing."""
    if not isinstance(decisions, list | tuple):
        _refuse(controller, "decide", decisions, "is no list of decisions")
    for decision in decisions:
        match decision:
            case Prune(path) | Close(path) | Inject(path) | Probe(path):
                if not _is_index(path, paths):
                    _refuse(controller, "decide", decision, f"the request has paths 0 to {paths - 1}")
                if isinstance(decision, Inject) and not (isinstance(decision.text, str) and decision.text):
                    _refuse(controller, "decide", decision, "text is no text, or empty")
            case Spawn(count):
                if not _is_count(count):
                    _refuse(controller, "decide", decision, "paths is no whole number of at least 1")
                if plan.max_paths is None:
                    _refuse(controller, "decide", decision, "its plan has no max_paths, so starts no more")
            case Stop():
                pass
            case _:
                _refuse(controller, "decide", decision, "is no decision that there is")
        if isinstance(decision, Prune | Stop | Close) and not isinstance(decision.reason, str):
            _refuse(controller, "decide", decision, "reason is no text")
        if decision == Stop("cancelled"):
            _refuse(controller, "decide", decision, "only a client cancels")
    return list(decisions)


def check_answer(controller: Controller, answer: Any, paths: int) -> Answer:
    if not isinstance(answer, Answer):
        _refuse(controller, "answer", answer, "is no Answer")
    if answer.winner is not None and not _is_index(answer.winner, paths):
        _refuse(controller, "answer", answer, f"winner is none of paths 0 to {paths - 1}")
    shares = [answer.confidence, *answer.weights.values()] if isinstance(answer.weights, dict) else [None]
    if not all(map(_is_finite, shares)):
        _refuse(controller, "answer", answer, "confidence or weights are no finite numbers")
    if not -ROUNDING <= answer.confidence <= 1 + ROUNDING:
        _refuse(controller, "answer", answer, "confidence does not lie in [0, 1]")
    return answer


def raised(controller: Controller, error: Exception) -> ControllerError:
    """What becomes of an error that a controller has raised, of whatever kind: one that says who."""
    if isinstance(error, ControllerError):
        return error
    # as a traceback ends; an error may be unable to say what it is about
    said = "".join(traceback.format_exception_only(error)).strip()
    return ControllerError(f"{type(controller).__name__} raised {said}")


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _is_index(value: Any, count: int) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < count


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _refuse(controller: Controller, method: str, said: Any, why: str) -> NoReturn:
    raise ControllerError(f"{type(controller).__name__}.{method} gave {said}: {why}")
