"""What ends a step of a model that nobody has described yet: chosen by what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from controllable_inference.core.baselines import SingleSample
from controllable_inference.core.request import SamplingParams
from controllable_inference.errors import ControllableError
from controllable_inference.learn.driver import ask_all
from controllable_inference.learn.subject import Subject

CANDIDATES = ("\n\n", "\n", ". ")
"""From the coarsest to the finest: paragraphs, lines, sentences."""
LEAST_STEPS = 4
"""A gate that is to look twice needs some steps left to save."""
SAMPLES = 8
FALLBACK = "\n"


def choose(texts: Sequence[str]) -> str:
    """The coarsest delimiter by which half of the texts have LEAST_STEPS steps; lines if none has."""
    for candidate in CANDIDATES:
        if texts and median(text.count(candidate) for text in texts) >= LEAST_STEPS:
            return candidate
    return FALLBACK


def described(subject: Subject, questions: Sequence[str], token_cap: int, temperature: float) -> Subject:
    """The subject, its control.json naming what ends a step; one that has a control.json already stays."""
    if subject.source is not None:
        return subject
    asked = list(questions[:SAMPLES])
    samplings = [SamplingParams(temperature, seed=number) for number in range(len(asked))]
    try:
        with subject.engine() as engine:
            results, _ = ask_all(engine, asked, samplings, controller=SingleSample(token_cap))
    except ControllableError:
        return subject  # what is wrong with model or questions is told by the recording, with what to do
    end = engine.vocabulary.think_end
    texts = [path.text.partition(end)[0] if end else path.text for r in results for path in r.paths]
    return subject.with_delimiters([choose(texts)])
