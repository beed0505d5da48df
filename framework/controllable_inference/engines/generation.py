"""How a model is meant to be sampled."""

from __future__ import annotations

import logging
from typing import Any

from controllable_inference.core.request import SamplingParams
from controllable_inference.errors import RequestError

log = logging.getLogger(__name__)


def sampling_of(model: Any) -> SamplingParams:
    """By its generation_config.json, as far as that says; else at temperature 1, with nothing filtered."""
    settings = getattr(model, "generation_config", None)
    given = settings.to_diff_dict() if settings is not None else {}
    names = ("temperature", "top_p", "top_k")
    try:
        own = SamplingParams(**{name: given[name] for name in names if given.get(name) is not None})
    except RequestError as error:
        log.warning("generation_config.json is not heeded: %s", error)
        own = SamplingParams()
    return own.over(SamplingParams(1.0, 1.0, 0))
