"""Puts many problems through an engine at once, as a server's clients would."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from controllable_inference.core.controller import Controller
from controllable_inference.core.events import Done, Event, Failed
from controllable_inference.core.request import Messages, RequestBudget, Result, SamplingParams
from controllable_inference.engines.engine import Engine
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

    An engine with nothing else to do computes the same steps each time, to the last digit: the first requests
    come together, and each of the others at the end of one before it, from the engine's own thread.
    """
    results: list[Result | None] = [None] * len(questions)
    each = [controller] * len(questions) if controllers is None else controllers
    waiting = deque(enumerate(zip(questions, samplings, each, strict=True)))
    troubles: list[Exception] = []
    finished = threading.Event()
    in_flight = answered = 0

    def ask_next() -> None:
        nonlocal in_flight
        number, (question, sampling, its_controller) = waiting.popleft()
        try:
            engine.submit(
                prompt(question),
                sampling,
                budget,
                lambda event: receive(number, event),
                controller=its_controller,
                streaming=False,
            )
        except Exception as error:  # for who has asked, not for the engine, whose thread this may be
            give_up(error)
        else:
            in_flight += 1

    def receive(number: int, event: Event) -> None:
        nonlocal in_flight, answered
        if isinstance(event, Failed):
            give_up(RequestFailed(f"{event.error}: {event.message}"))
        elif isinstance(event, Done):
            results[number] = event.result
        else:
            return
        in_flight -= 1
        answered += 1
        if waiting:
            ask_next()
        try:
            progress(answered)
        finally:
            if not in_flight:
                finished.set()

    def give_up(error: Exception) -> None:
        troubles.append(error)
        waiting.clear()

    started = time.monotonic()
    try:
        with engine.together():
            while waiting and in_flight < concurrency:
                ask_next()
            if not in_flight:
                finished.set()
        finished.wait()
    finally:
        waiting.clear()  # who is interrupted asks no more
    if troubles:
        raise troubles[0]
    return [result for result in results if result is not None], time.monotonic() - started
