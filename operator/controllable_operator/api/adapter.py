"""spec.model.adapters: what a domain brings to the model, for requests that name it."""

from typing import Annotated

from pydantic import ConfigDict, Field

from controllable_operator.api.source import URI_RULES, Source, source_rules
from controllable_operator.api.types import rule, rules


class Adapter(Source):
    """LoRA weights, special tokens and a budget scale; any of them may be missing, but not all."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *source_rules(guard="!has(self.uri) || "),
            rule(
                "has(self.uri) || !has(self.revision) && !has(self.digest) && !has(self.secretRef)",
                "revision, digest and secretRef are of what lies at a uri, and there is none",
                ".uri",
            ),
            rule(
                "has(self.uri) || size(self.specialTokens) > 0 || double(self.budgetScale) != 1.0",
                "an adapter changes nothing without a uri, specialTokens or a budgetScale other than 1",
            ),
        )
    )

    name: str = Field(
        min_length=1,
        max_length=50,
        description=(
            "name by which requests ask for the adapter; /v1/models lists it. Not the model's own, and no "
            "other adapter's."
        ),
        json_schema_extra=rules(
            rule(
                "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                "name must be a DNS label: lower-case letters, digits and '-', first and last no '-'",
            )
        ),
    )
    uri: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description=(
            "uri of LoRA weights for this model, as peft's save_pretrained writes them: adapter_config.json "
            "and adapter_model.safetensors in one folder, named as spec.model.uri names a checkpoint's. "
            "Default: none, the adapter has special tokens or a budget scale, and no weights."
        ),
        json_schema_extra=URI_RULES,
    )
    domain: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        description="domain that the adapter is for; /v1/models tells it to clients. Default: its name.",
    )
    special_tokens: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=[],
        max_length=64,
        description=(
            "specialTokens of the domain: each is read and drawn as one token, and writing one ends a step. "
            "Where the weights were trained with tokens of their own, the same in the same order. Adapters "
            "of a model may have some in common: each reads and draws its own."
        ),
        json_schema_extra={"x-kubernetes-list-type": "set"}
        | rules(rule("self.all(token, token.trim() != '')", "specialTokens must hold more than white space")),
    )
    budget_scale: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", max_length=10)] = Field(
        default="1",
        description=(
            "budgetScale multiplies the coefficient of the domain's requests, which stays in [0, 2]. A "
            "decimal number greater than 0, as a string, because Kubernetes forbids floats."
        ),
        json_schema_extra=rules(rule("double(self) > 0.0", "budgetScale must be greater than 0")),
    )
