"""spec.networkPolicy: who may reach the model."""

from typing import Literal

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, rule, rules


class LabelSelectorRequirement(ApiModel):
    """One expression of a label selector."""

    key: str = Field(max_length=317, description="key of the label that the expression is about.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="operator that relates key and values: In, NotIn, Exists or DoesNotExist."
    )
    values: list[str] | None = Field(
        default=None,
        max_length=64,
        description="values for In and NotIn; absent for Exists and DoesNotExist.",
    )


class LabelSelector(ApiModel):
    """A Kubernetes label selector. An empty one selects everything."""

    match_labels: dict[str, str] | None = Field(
        default=None, description="matchLabels that all must be there."
    )
    match_expressions: list[LabelSelectorRequirement] | None = Field(
        default=None, max_length=64, description="matchExpressions that all must hold."
    )


class IpBlock(ApiModel):
    """A range of addresses."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("isCIDR(self.cidr)", "cidr must be a CIDR such as 10.0.0.0/8", ".cidr"))
    )

    cidr: str = Field(max_length=64, description="cidr that may connect, such as 10.0.0.0/8.")
    except_: list[str] | None = Field(
        default=None,
        alias="except",
        max_length=64,
        description="except lists ranges inside cidr that may not connect.",
    )


class Peer(ApiModel):
    """A source of traffic, with the meaning of a NetworkPolicy's peer."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.podSelector) || has(self.namespaceSelector) || has(self.ipBlock)",
                "a peer needs a podSelector, a namespaceSelector or an ipBlock",
            ),
            rule(
                "!has(self.ipBlock) || !(has(self.podSelector) || has(self.namespaceSelector))",
                "a peer with an ipBlock can't have selectors: write two peers",
                ".ipBlock",
            ),
        )
    )

    pod_selector: LabelSelector | None = Field(
        default=None,
        description=(
            "podSelector of pods that may connect: here, or in the namespaces of namespaceSelector."
        ),
    )
    namespace_selector: LabelSelector | None = Field(
        default=None, description="namespaceSelector of namespaces whose pods may connect."
    )
    ip_block: IpBlock | None = Field(default=None, description="ipBlock of addresses that may connect.")


class NetworkPolicy(ApiModel):
    """The NetworkPolicy in front of the model's pods."""

    enabled: bool = Field(
        default=True,
        description="enabled makes a NetworkPolicy. Off, whoever reaches the pods reaches the model.",
    )
    allow_from: list[Peer] = Field(
        default=[],
        max_length=64,
        description=(
            "allowFrom lists who may reach the model's HTTP port (API and metrics). Empty, every pod of this "
            "namespace may, and nobody else. If not empty, only those listed may: add a peer with an empty "
            "podSelector to keep this namespace. Name an ingress controller and Prometheus here."
        ),
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
