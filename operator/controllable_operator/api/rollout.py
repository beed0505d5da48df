"""spec.rollout: how a changed model takes the place of the one that serves, and status.rollout beside it."""

from typing import Annotated, Literal

from pydantic import Field

from controllable_operator.api.types import ApiModel, Duration, UnitFraction, rule, rules

Strategy = Literal["RollingUpdate", "Canary"]
Percent = Annotated[int, Field(ge=1, le=99, json_schema_extra={"format": "int32"})]

_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_NAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


class Gateway(ApiModel):
    """A Gateway (gateway.networking.k8s.io) that shares requests out by weight."""

    name: str = Field(min_length=1, max_length=253, pattern=_DNS_NAME, description="name of the Gateway.")
    namespace: str | None = Field(
        default=None,
        max_length=63,
        pattern=_DNS_LABEL,
        description="namespace of the Gateway. Default: the model's.",
    )
    hostnames: list[Annotated[str, Field(max_length=253, pattern=_DNS_NAME)]] = Field(
        default=[],
        max_length=16,
        description="hostnames that the model answers to there. Default: every one of the Gateway's.",
    )


class Rollout(ApiModel):
    """How pods of a changed model, image or control take the place of those that serve."""

    strategy: Strategy = Field(
        default="RollingUpdate",
        description=(
            "strategy of a change: RollingUpdate replaces one pod after the other, a new one always before "
            "an old one. Canary starts pods of the new revision beside the old ones, gives them a growing "
            "share of the requests, and then goes on as RollingUpdate does, or goes back by itself."
        ),
    )
    steps: list[Percent] = Field(
        default=[10, 50],
        min_length=1,
        max_length=20,
        description=(
            "steps of a canary: percent of the requests that the new revision gets, each step for the length "
            "of interval. Without a gateway the share is the canary's share of the pods: at most half of "
            "them, and as near to the step as whole pods come."
        ),
        json_schema_extra=rules(
            rule(
                "self.isSorted() && self.all(step, self.exists_one(other, other == step))",
                "steps must grow from one to the next, as in [10, 50]",
            )
        ),
    )
    interval: Duration = Field(
        default="2m",
        description="interval for which each step is watched. A duration such as 2m or 90s.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('1s') && duration(self) <= duration('24h')",
                "interval must be from 1s to 24h",
            )
        ),
    )
    max_error_rate: UnitFraction = Field(
        default="0.01",
        description=(
            "maxErrorRate of the canary's requests in an interval (HTTP status 5xx, or a stream that broke "
            'off); above it the canary is rolled back. A fraction in quotes, such as "0.01".'
        ),
    )
    max_latency_p99: Duration | None = Field(
        default=None,
        description=(
            "maxLatencyP99 of the canary's requests in an interval, to the last byte of the answer; above it "
            "the canary is rolled back. A duration such as 1200ms. Default: latency does not count."
        ),
        json_schema_extra=rules(
            rule("duration(self) > duration('0s')", "maxLatencyP99 must be longer than 0s")
        ),
    )
    gateway: Gateway | None = Field(
        default=None,
        description=(
            "gateway that an HTTPRoute of the model is attached to; it shares requests out by the weight of "
            "the step, while the model's Service stays with the old revision. Default: no HTTPRoute, and the "
            "Service shares them out by pod."
        ),
    )


RolloutState = Literal["Updating", "Starting", "Watching", "Promoting", "RolledBack", "Complete"]


class RolloutStatus(ApiModel):
    """How far the newest revision got."""

    revision: str = Field(
        max_length=63, description="revision is the hash of the newest generation's pod template."
    )
    strategy: Strategy = Field(description="strategy that this revision is rolled out by.")
    state: RolloutState = Field(
        description=(
            "state of the rollout: Updating (pods are replaced), Starting (the step's canary pods come up), "
            "Watching (the step's interval runs), Promoting (every pod is replaced), RolledBack, or Complete."
        )
    )
    step: int = Field(
        default=0, ge=0, description="step of spec.rollout.steps, from 1; 0 where there are none."
    )
    weight: int = Field(
        default=0, ge=0, le=100, description="weight of the newest revision, in percent of the requests."
    )
    since: str = Field(
        description="since when it is in this state, at this step.",
        json_schema_extra={"format": "date-time"},
    )
    reason: str = Field(max_length=1024, description="reason for the state, for people.")
