"""The kinds of objects that the operator reads and writes, and where the API server has them."""

from dataclasses import dataclass

from controllable_operator.api import API_VERSION, PLURAL
from controllable_operator.api import KIND as MODEL_KIND


@dataclass(frozen=True)
class Kind:
    """A kind and where the API server has it."""

    api_version: str
    name: str
    plural: str

    @property
    def group(self) -> str:
        """API group, empty for the core one."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Version of the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, of one object, or of its subresource; all namespaces if None."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        scope = f"/namespaces/{namespace}" if namespace else ""
        tail = "".join(f"/{part}" for part in (self.plural, name, subresource) if part)
        return f"{root}{self.api_version}{scope}{tail}"


MODEL = Kind(API_VERSION, MODEL_KIND, PLURAL)
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
CHILD_KINDS = (
    REVISION,
    CONFIG_MAP,
    SERVICE,
    NETWORK_POLICY,
    VOLUME_CLAIM,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    AUTOSCALER,
)

# Kinds of others, which a cluster has or has not, today or tomorrow (see cluster.py).
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
PROMETHEUS_RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
CLAIM_TEMPLATE = Kind("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates")
OPTIONAL_CHILD_KINDS = (POD_MONITOR, PROMETHEUS_RULE, SCALED_OBJECT, HTTP_ROUTE, CLAIM_TEMPLATE)
# What replicas that span nodes are made of, and what may hold pods back. The operator writes none of them.
COMPUTE_DOMAIN = Kind("resource.nvidia.com/v1beta1", "ComputeDomain", "computedomains")
LEADER_WORKER_SET = Kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets")
LOCAL_QUEUE = Kind("kueue.x-k8s.io/v1beta1", "LocalQueue", "localqueues")
KAI_QUEUE = Kind("scheduling.run.ai/v2", "Queue", "queues")
MULTI_NODE_KINDS = (COMPUTE_DOMAIN, LEADER_WORKER_SET)
OPTIONAL_KINDS = (*OPTIONAL_CHILD_KINDS, *MULTI_NODE_KINDS, LOCAL_QUEUE, KAI_QUEUE)

# What tells of GPUs: those that there are, and those that a pod got.
NODE = Kind("v1", "Node", "nodes")
RESOURCE_SLICE = Kind("resource.k8s.io/v1", "ResourceSlice", "resourceslices")
DEVICE_CLASS = Kind("resource.k8s.io/v1", "DeviceClass", "deviceclasses")
GPU_KINDS = (NODE, RESOURCE_SLICE, DEVICE_CLASS)
RESOURCE_CLAIM = Kind("resource.k8s.io/v1", "ResourceClaim", "resourceclaims")
RESOURCE_QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")

# Those that an API server may not serve.
OPTIONAL_WATCHED_KINDS = (*OPTIONAL_CHILD_KINDS, RESOURCE_CLAIM, RESOURCE_SLICE, DEVICE_CLASS)
WATCHED_KINDS = (MODEL, POD, NODE, *CHILD_KINDS, *OPTIONAL_WATCHED_KINDS)

_BY_NAME = {kind.name: kind for kind in (*CHILD_KINDS, *OPTIONAL_CHILD_KINDS)}


def child_kind(manifest: dict[str, object]) -> Kind:
    """The kind of a child's manifest."""
    return _BY_NAME[str(manifest["kind"])]
