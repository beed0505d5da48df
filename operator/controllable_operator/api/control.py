"""spec.control: how far the model may think. Passed on to the engine word for word."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, Coefficient, UnitFraction, rule, rules


class PathPruning(ApiModel):
    """Dynamic path pruning: reasoning paths that score low are dropped while they are being written."""

    enabled: bool = Field(
        default=True, description="enabled turns path pruning on. Off, every path runs to its end."
    )
    max_paths: int = Field(
        default=16,
        ge=1,
        le=64,
        description="maxPaths is the most reasoning paths of one request, whatever its coefficient.",
    )
    threshold: UnitFraction | None = Field(
        default=None,
        description=(
            "threshold in [0, 1]: a path whose gate score is at or under it is dropped; a higher one saves "
            "more and risks more. Default: what the checkpoint's control was trained for. 0.3 keeps the "
            "share of right paths that its gate promises. A string, because Kubernetes forbids floats."
        ),
    )


class ComputeBudget(ApiModel):
    """Adaptive compute allocation: how much each request may spend, from what its prompt looks like."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "double(self.minCoefficient) <= double(self.maxCoefficient)",
                "minCoefficient must not be greater than maxCoefficient",
                ".minCoefficient",
            )
        )
    )

    enabled: bool = Field(
        default=True,
        description="enabled lets the budget predictor choose. Off, every request has coefficient 1.",
    )
    min_coefficient: Coefficient = Field(
        default="0",
        description=(
            "minCoefficient in [0, 2] is the least that a request gets; 1 means the base number of paths and "
            "tokens, 0 the fast mode with one path. A string, because Kubernetes forbids floats."
        ),
    )
    max_coefficient: Coefficient = Field(
        default="2",
        description=(
            "maxCoefficient in [0, 2] is the most that a request gets, asked for or predicted. A string, "
            "because Kubernetes forbids floats."
        ),
    )
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = Field(
        default=None,
        description=(
            "maxTokens is the most tokens of one path at coefficient 1. Default: what the checkpoint's "
            "control was trained for, or all that the model's context holds."
        ),
    )


class Policy(ApiModel):
    """The learned policy, which decides while a request runs: think on, open more paths, or vote."""

    enabled: bool = Field(
        default=True,
        description=(
            "enabled uses the policy that a checkpoint brings along; one without a policy does without. "
            "Off, the gate and the budget alone decide."
        ),
    )


class EarlyExit(ApiModel):
    """Early exit: a path's thinking is ended once the answers agree that it would give by then."""

    max_risk: UnitFraction | None = Field(
        default=None,
        description=(
            "maxRisk in [0, 1] is the share of questions that may lose a right answer by it; how patient it "
            "is follows from what `train early-exit` measured for the model. Default: no path is ended "
            "early. A string, because Kubernetes forbids floats."
        ),
    )


class Control(ApiModel):
    """The mechanisms, and what is told about them."""

    path_pruning: PathPruning = Field(
        default=PathPruning(), description="pathPruning drops reasoning paths that are not worth finishing."
    )
    compute_budget: ComputeBudget = Field(
        default=ComputeBudget(),
        description="computeBudget decides how many paths and tokens a request is worth.",
    )
    policy: Policy = Field(
        default=Policy(),
        description="policy decides, while a request runs, whether more thinking is worth its price.",
    )
    early_exit: EarlyExit | None = Field(
        default=None,
        description="earlyExit ends thinking that no longer changes the answer.",
    )
    trace: Literal["none", "summary", "full"] = Field(
        default="summary",
        description=(
            "trace says what a response may tell about its paths: none, a summary (fates and scores), or "
            "full (their text as well). A request may ask for less, never for more."
        ),
    )
