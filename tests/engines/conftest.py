"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from controllable_inference.core.controller import Controller
from controllable_inference.engines.native import tensor_parallel
from controllable_inference.engines.native.engine import NativeEngine
from forked_ranks import Forks
from tiny_engines import FAMILIES, Stepped, make_engine, make_model, make_tokenizer
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="session")
def models_by_family() -> dict[str, Any]:
    return {family: make_model(family) for family in FAMILIES}


@pytest.fixture
def engine_of(tokenizer: Any, models_by_family: dict[str, Any]) -> Any:
    """Makes engines that are shut down when the test ends: `engine_of(controller, family, **config)`."""
    made: list[NativeEngine] = []

    def make(controller: Controller, family: str = "llama", **config: Any) -> NativeEngine:
        made.append(make_engine(models_by_family[family], tokenizer, controller, **config))
        return made[-1]

    yield make
    for engine in made:
        engine.shutdown()


@pytest.fixture
def stepped(tokenizer: Any, models_by_family: dict[str, Any]) -> Callable[..., Stepped]:
    """`stepped(controller, family, **config)`"""

    def make(controller: Controller, family: str = "llama", **config: Any) -> Stepped:
        return Stepped(make_engine(models_by_family[family], tokenizer, controller, **config))

    return make


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="module")
def quick_ranks(forks: Forks) -> Iterator[Forks]:
    """Ranks are forked instead of started anew."""
    names = {**vars(tensor_parallel.subprocess), "Popen": forks.rank}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_parallel, "subprocess", SimpleNamespace(**names))
        yield forks
