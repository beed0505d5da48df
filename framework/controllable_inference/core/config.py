"""control.json, which lies beside a checkpoint's weights, and the `control` part of engine.json.

`ControlConfig` says what was trained and how it is read; `ControlSettings` says what an operator allows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from controllable_inference.errors import ControlConfigError

CONTROL_FILE = "control.json"

Marker = Annotated[str, Field(min_length=1)]
"""What is looked for in a text; an empty one would be everywhere."""
Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CalibrationConfig(_Strict):
    """Knots of a non-decreasing piecewise linear map from raw gate score to probability."""

    x: list[float] = Field(min_length=1)
    y: list[Probability] = Field(min_length=1)

    @model_validator(mode="after")
    def _knots_pair_up(self) -> CalibrationConfig:
        if len(self.x) != len(self.y):
            raise ValueError(f"x has {len(self.x)} knots and y {len(self.y)}")
        if sorted(self.x) != self.x or sorted(self.y) != self.y:
            raise ValueError("knots must not decrease")
        return self


class FeatureConfig(_Strict):
    names: list[str] = Field(default_factory=list)


class GateConfig(_Strict):
    """hidden_dim is the length of one feature vector (`features.feature_dim(model hidden size)`).

    threshold: paths scored at or under it are pruned, but never below `min_keep` paths that live or have
    finished, and not before a path has ended `min_steps` steps. calibration makes raw scores probabilities.
    promised_probability: the probability that a threshold of 0.3 stands for (`calibration.Promise`); scores
    are the probabilities themselves where none is given.
    """

    weights: str = "gate.safetensors"
    hidden_dim: int = Field(ge=1)
    threshold: float = Field(default=0.3, ge=0, le=1)
    min_keep: int = Field(default=2, ge=1)
    min_steps: int = Field(default=2, ge=0)
    calibration: CalibrationConfig | None = None
    promised_probability: float | None = Field(default=None, ge=0, le=1)


class BudgetConfig(_Strict):
    """input_dim is the model's hidden size; hidden_dim the LSTM's.

    base_paths and base_tokens are what coefficient 1 buys. Under `fast_threshold` a request runs in fast
    mode. min_token_share: the token cap never falls under this share of base_tokens: a shorter path is cut
    off before its answer, which spends everything it used and buys nothing.
    """

    weights: str = "budget.safetensors"
    input_dim: int = Field(ge=1)
    hidden_dim: int = Field(default=64, ge=1)
    base_paths: int = Field(default=16, ge=1)
    base_tokens: int = Field(default=1024, ge=1)
    fast_threshold: float = Field(default=0.1, ge=0, le=2)
    min_token_share: float = Field(default=0.5, ge=0, le=1)


class ClosingConfig(_Strict):
    """How a thinking segment is ended by force.

    text: written behind the thinking so far; None for the end of thinking between line breaks. cue: written
    behind that for a trial answer, to have it at once. answer_share: of each path's token cap, what is kept
    for its answer.
    """

    text: Marker | None = None
    cue: str = ""
    answer_share: float = Field(default=0.125, ge=0, le=0.5)


class EarlyExitConfig(_Strict):
    """What closing a path early was seen to cost, on calibration problems that each had one path.

    every: steps from one trial answer to the next. problems: how many. right: of how many the path's own
    answer was right. lost: for a patience of 1, 2, ... trials that agree, of how many a right answer was lost
    by closing there. thinking: the share of thinking tokens that was left, for each of these.
    """

    every: int = Field(default=1, ge=1)
    problems: int = Field(ge=1)
    right: int = Field(ge=0)
    lost: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    thinking: list[Annotated[float, Field(ge=0)]] = Field(min_length=1)


class PolicyConfig(_Strict):
    """state and actions name the net's inputs and outputs, in their order (`policy.STATE`, `policy.ACTIONS`).

    start_paths, at_once, checkpoints: see `policy.Outlay`. threshold: stands in for the gate's
    where it is higher; with a policy to see to the vote, more paths may go than a promised recall allows.
    """

    weights: str = "policy.safetensors"
    hidden_dim: int = Field(ge=1)
    state: list[str] = Field(min_length=1)
    actions: list[str] = Field(min_length=1)
    start_paths: float = Field(gt=0)
    at_once: int = Field(ge=1)
    checkpoints: list[int] = Field(default_factory=list)
    threshold: float = Field(default=0.0, ge=0, le=1)


class ControlConfig(_Strict):
    """control.json, the single definition: training writes it, the engine reads it.

    think_end: ends the thinking segment; null for a model that does not think aloud, whose steps are those of
    its whole text. fast_prefix: closes that segment at once; "" where the chat template does so itself.
    equality: when two answers are the same, by a name that `core.equality` knows.
    digests: sha256 of the weights' files by name; one that is another is not loaded.
    """

    version: Literal[1] = 1
    step_delimiters: list[Marker] = Field(default_factory=lambda: ["\n"], min_length=1)
    think_end: Marker | None = "</think>"
    fast_prefix: str = ""
    closing: ClosingConfig = ClosingConfig()
    equality: Marker = "number"
    features: FeatureConfig = FeatureConfig()
    gate: GateConfig | None = None
    budget: BudgetConfig | None = None
    policy: PolicyConfig | None = None
    early_exit: EarlyExitConfig | None = None
    digests: dict[str, str] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    figures: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> ControlConfig | None:
        """Read `folder/control.json`; None if there is none.

        Raises ControlConfigError when the file is not one of ours, naming each field that does not fit.
        """
        path = folder / CONTROL_FILE
        if not path.is_file():
            return None
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (ValidationError, ValueError, RecursionError) as error:  # the last of nested brackets
            raise ControlConfigError(
                f"{path} is not a control.json this version can read: {error}"
            ) from error

    def save(self, folder: Path) -> Path:
        """Write `folder/control.json`, whole or not at all."""
        path = folder / CONTROL_FILE
        fresh = path.with_suffix(".new")
        fresh.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return fresh.replace(path)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class PathPruning(_Settings):
    enabled: bool = True
    max_paths: int = Field(default=16, ge=1, le=64)
    threshold: float | None = Field(default=None, ge=0, le=1)


class ComputeBudget(_Settings):
    """max_tokens: most tokens of one path at coefficient 1; None for what the model was trained for, or for
    all that its context holds where it was trained for nothing.
    """

    enabled: bool = True
    min_coefficient: float = Field(default=0.0, ge=0, le=2)
    max_coefficient: float = Field(default=2.0, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> ComputeBudget:
        if self.min_coefficient > self.max_coefficient:
            raise ValueError("minCoefficient is greater than maxCoefficient")
        return self


class PolicySettings(_Settings):
    """Whether a checkpoint's policy is used, if it has one."""

    enabled: bool = True


class EarlyExitSettings(_Settings):
    """max_risk: at most this share of questions may lose a right answer to it; None closes no path early."""

    max_risk: float | None = Field(default=None, gt=0, lt=1)


class ControlSettings(_Settings):
    """The `control` part of engine.json (the resource's spec.control). Fractions may come as strings."""

    path_pruning: PathPruning = PathPruning()
    compute_budget: ComputeBudget = ComputeBudget()
    policy: PolicySettings = PolicySettings()
    early_exit: EarlyExitSettings | None = None
    trace: Literal["none", "summary", "full"] = "summary"

    @classmethod
    def parse(cls, control: dict[str, Any] | ControlSettings | None) -> ControlSettings:
        if isinstance(control, ControlSettings):
            return control
        try:
            return cls.model_validate(control or {})
        except ValidationError as error:
            raise ControlConfigError(f"the engine's control settings do not fit: {error}") from error
