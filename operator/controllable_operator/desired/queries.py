"""PromQL over the metrics that a model's pods tell of themselves."""

from controllable_operator.api import ControllableModel
from controllable_operator.desired.common import INSTANCE_LABEL

# Prometheus' form of the pods' label. Our PodMonitor copies it to every series, as do the usual scrape
# configurations that go by annotations.
MODEL_LABEL = INSTANCE_LABEL.replace(".", "_").replace("/", "_")

WINDOW = "5m"

REQUESTS = "controllable_requests_total"
WAITING = "controllable_requests_waiting"
RUNNING = "controllable_requests_running"
DURATION = "controllable_request_duration_seconds"
FIRST_TOKEN = "controllable_time_to_first_token_seconds"  # noqa: S105
PATHS = "controllable_paths_total"
TOKENS = "controllable_tokens_total"
BUDGET_TOKENS = "controllable_budget_tokens_total"
KV_BLOCKS = "controllable_kv_blocks"
ENGINE_UP = "controllable_frontend_triton_up"


def selector(model: ControllableModel) -> str:
    """Label matchers of the series of this model."""
    return f'namespace="{model.metadata.namespace}",{MODEL_LABEL}="{model.metadata.name}"'


def waiting(select: str) -> str:
    """Requests in the queues of all replicas."""
    return f"sum({WAITING}{{{select}}})"


def in_flight(select: str) -> str:
    """Requests taken in and not answered yet. An engine that came up just now counts as one."""
    running = f"{RUNNING}{{{select}}}"
    return (
        f"sum({WAITING}{{{select}}}) + sum({running}) + "
        f"(count({running} unless {running} offset {WINDOW}) or vector(0))"
    )


def kv_utilisation(select: str) -> str:
    """Used share of the KV cache, 0 to 1."""
    return f'sum({KV_BLOCKS}{{state="used",{select}}}) / sum({KV_BLOCKS}{{{select}}})'


def latency_p99(select: str) -> str:
    """Seconds that all but one in a hundred requests are answered within."""
    return quantile(0.99, DURATION, select)


def quantile(share: float, histogram: str, select: str) -> str:
    """Seconds that this share of what a histogram saw is within."""
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{{select}}}[{WINDOW}])))"


def failure_rate(select: str) -> str:
    """Share of the requests that failed, 0 to 1."""
    return _share(REQUESTS, 'outcome="failed"', select)


def refusal_rate(select: str) -> str:
    """Share of the requests that the queue did not take or let wait for too long, 0 to 1."""
    return _share(REQUESTS, 'outcome=~"rejected|timeout"', select)


def path_pruning_rate(select: str) -> str:
    """Share of the ended paths that were pruned, 0 to 1."""
    return _share(PATHS, 'fate="pruned"', select)


def budget_utilisation(select: str) -> str:
    """Share of the granted path tokens that were used, 0 to 1."""
    used, granted = (_rate(BUDGET_TOKENS, f'kind="{kind}"', select) for kind in ("used", "granted"))
    return f"{used} / {granted}"


def _share(counter: str, part: str, select: str) -> str:
    return f"{_rate(counter, part, select)} / sum(rate({counter}{{{select}}}[{WINDOW}]))"


def _rate(counter: str, part: str, select: str) -> str:
    return f"sum(rate({counter}{{{part},{select}}}[{WINDOW}]))"
