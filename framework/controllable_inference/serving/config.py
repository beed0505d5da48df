"""engine.json: what one engine is told. The same document, whether the operator or `serve` wrote it.

The JSON Schema that both distributions are checked against is `schemas/engine.schema.json`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from controllable_inference.serving.errors import ConfigError

ENV = "CONTROLLABLE_ENGINE_CONFIG"

# Kubernetes forbids floats in custom resources, so fractions travel as strings.
UnitFraction = Annotated[str, Field(pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$")]
Decimal = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]
Coefficient = Annotated[str, Field(pattern=r"^([01](\.[0-9]+)?|2(\.0+)?)$")]


class _Section(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, extra="forbid", frozen=True, strict=True
    )


class AdapterSection(_Section):
    """A domain adapter: what clients call it, and what it brings; no path where it has no LoRA weights."""

    name: str = Field(min_length=1)
    domain: str = Field(min_length=1)
    path: Annotated[str, Field(min_length=1)] | None
    special_tokens: tuple[str, ...]
    budget_scale: Decimal


class ModelSection(_Section):
    """Which weights, what clients call them, what computes them, and how many devices share them.

    engine auto takes vLLM where there are a GPU and vLLM, else the native engine.
    """

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    engine: Literal["auto", "native", "vllm"] = "auto"
    tensor_parallel: int = Field(default=1, ge=1)
    adapters: tuple[AdapterSection, ...] = ()


class PathPruning(_Section):
    """When a path is given up: at a gate score up to `threshold`; None takes what control was trained for."""

    enabled: bool
    max_paths: int = Field(ge=1, le=64)
    threshold: UnitFraction | None = None


class ComputeBudget(_Section):
    """How much thinking a request is granted; `max_tokens` is one path's cap at coefficient 1.

    None for what control was trained for, or for all that the context holds.
    """

    enabled: bool
    min_coefficient: Coefficient
    max_coefficient: Coefficient
    max_tokens: Annotated[int, Field(ge=1)] | None = None


class Policy(_Section):
    """Whether the checkpoint's own policy decides, where it has one."""

    enabled: bool


class EarlyExit(_Section):
    """Paths are closed once their trial answers agree: at most this share of questions may lose by it."""

    max_risk: UnitFraction | None = None


class ControlSection(_Section):
    """spec.control, verbatim."""

    path_pruning: PathPruning
    compute_budget: ComputeBudget
    policy: Policy
    early_exit: EarlyExit | None = None
    trace: Literal["none", "summary", "full"]


class Queue(_Section):
    """Requests that may wait for admission, and for how long."""

    size: int = Field(ge=0)
    timeout_seconds: float = Field(gt=0)


class ServingSection(_Section):
    """Limits of one replica."""

    max_concurrent_requests: int = Field(ge=1)
    queue: Queue
    drain_timeout_seconds: float = Field(ge=0)


class EngineConfig(_Section):
    """The whole of engine.json. Defaults belong to the resource, not here.

    A field that a later version adds may be left out, and then means what was before there was one: pods are
    made anew for each other text, and none should be for an upgrade.
    """

    model: ModelSection
    control: ControlSection
    serving: ServingSection

    @classmethod
    def parse(cls, document: Any, where: str) -> "EngineConfig":
        """Validate a decoded document; `where` names it in the ConfigError."""
        try:
            # Through JSON, so that strictness means JSON's types whoever produced the document.
            return cls.model_validate_json(json.dumps(document), by_name=False, by_alias=True)
        except ValidationError as error:
            raise ConfigError(f"{where}: {describe(error)}", "see schemas/engine.schema.json") from error

    def to_json(self) -> dict[str, Any]:
        """The document as engine.schema.json describes it: camelCase, every field present."""
        return self.model_dump(mode="json", by_alias=True)


def describe(error: ValidationError, prefix: str = "") -> str:
    """The first fault of a pydantic error as `field.path: what is wrong`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(part for part in (prefix, *map(str, first["loc"])) if part)
    return f"{field}: {first['msg']}"


def load_engine_config(environ: Mapping[str, str] = os.environ) -> EngineConfig:
    """Read the file that CONTROLLABLE_ENGINE_CONFIG names; ConfigError where that can't be done."""
    name = environ.get(ENV)
    if not name:
        raise ConfigError(f"{ENV} is not set", "it names the engine.json that this engine serves")
    try:
        document = json.loads(Path(name).read_text())
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}", f"{ENV} names it") from error
    except ValueError as error:
        raise ConfigError(f"{name}: not JSON: {error}", f"{ENV} names it") from error
    return EngineConfig.parse(document, name)
