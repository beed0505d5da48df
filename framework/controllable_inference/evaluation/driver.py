"""Puts many problems through an engine at once, as a server's clients would."""

import threading
import time
from collections.abc import Callable, Sequence

from controllable_inference.control.controller import Controller
from controllable_inference.engine.engine import Engine
from controllable_inference.engine.events import Done, Event, Failed
from controllable_inference.engine.request import Messages, RequestBudget, Result, SamplingParams
from controllable_inference.errors import ControllableError


class RequestFailed(ControllableError):
    """The engine gave up on a request that had to succeed; the message is the engine's."""


def as_chat(question: str) -> Messages:
    """One message of a user."""
    return [{"role": "user", "content": question}]


def ask_all(
    engine: Engine,
    questions: Sequence[str],
    samplings: Sequence[SamplingParams],
    *,
    controller: Controller | None = None,
    controllers: Sequence[Controller | None] | None = None,
    budget: RequestBudget | None = None,
    concurrency: int = 16,
    prompt: Callable[[str], str | Messages] = as_chat,
    progress: Callable[[int], None] = lambda answered: None,
) -> tuple[list[Result], float]:
    """Results in the order of `questions`, and the seconds it took, with `concurrency` requests in flight.

    samplings: one a question. controllers: likewise, in place of one `controller` for all; None stands for
    the engine's own. prompt: what the engine gets for a question. `progress(answered)` is called from the
    engine's thread. Raises RequestFailed when the engine fails a request.
    """
    results: list[Result | None] = [None] * len(questions)
    failures: list[Failed] = []
    places = threading.Semaphore(concurrency)
    answered = 0

    def receiver(number: int) -> Callable[[Event], None]:
        def receive(event: Event) -> None:
            nonlocal answered
            if isinstance(event, Failed):
                failures.append(event)
            elif isinstance(event, Done):
                results[number] = event.result
            if isinstance(event, Failed | Done):
                answered += 1
                places.release()
                progress(answered)

        return receive

    started = time.monotonic()
    each = [controller] * len(questions) if controllers is None else controllers
    asked = zip(questions, samplings, each, strict=True)
    for number, (question, sampling, its_controller) in enumerate(asked):
        places.acquire()
        if failures:
            places.release()
            break
        engine.submit(
            prompt(question), sampling, budget, receiver(number), controller=its_controller, streaming=False
        )
    for _ in range(concurrency):
        places.acquire()
    if failures:
        raise RequestFailed(f"{failures[0].error}: {failures[0].message}")
    return [result for result in results if result is not None], time.monotonic() - started
