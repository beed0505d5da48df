"""spec.monitoring: how the model is watched, and when somebody is to be told."""

from pydantic import ConfigDict, Field

from controllable_operator.api.types import ApiModel, Duration, UnitFraction, rule, rules


class Range(ApiModel):
    """Where a share should lie."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("double(self.min) <= double(self.max)", "min must not be greater than max", ".min")
        )
    )

    min: UnitFraction = Field(
        default="0", description="min in [0, 1]. A string, because Kubernetes forbids floats."
    )
    max: UnitFraction = Field(
        default="1", description="max in [0, 1]. A string, because Kubernetes forbids floats."
    )


class Slo(ApiModel):
    """Objectives; each makes an alert that fires while it is missed."""

    latency_p99: Duration | None = Field(
        default=None,
        description=(
            "latencyP99 of requests over five minutes, from submission to the last token. A duration such as "
            "1200ms. Default: no alert."
        ),
        json_schema_extra=rules(rule("duration(self) > duration('0s')", "latencyP99 must be longer than 0s")),
    )
    path_pruning_rate: Range | None = Field(
        default=None,
        description="pathPruningRate is the share of the paths that are pruned. Default: no alert.",
    )
    budget_utilisation: Range | None = Field(
        default=None,
        description="budgetUtilisation is the share of the granted tokens that are used. Default: no alert.",
    )


class Monitoring(ApiModel):
    """Scraping, rules and a dashboard, where Prometheus operator is there to take them."""

    enabled: bool = Field(
        default=True,
        description=(
            "enabled makes a PodMonitor, a PrometheusRule and the ConfigMap of a Grafana dashboard (label "
            "grafana_dashboard) where the cluster has the kinds of Prometheus operator; elsewhere it makes "
            "nothing. Prometheus reaches the pods if networkPolicy lets it."
        ),
    )
    labels: dict[str, str] | None = Field(
        default=None,
        max_length=16,
        description=(
            "labels of the PodMonitor and the PrometheusRule, for a Prometheus that selects by them, such as "
            "release: kube-prometheus-stack."
        ),
        json_schema_extra=rules(
            rule(
                "self.all(key, !key.startsWith('app.kubernetes.io/'))",
                "labels of app.kubernetes.io/ are the operator's own",
            )
        ),
    )
    slo: Slo = Field(default=Slo(), description="slo of the model; each objective makes an alert.")
