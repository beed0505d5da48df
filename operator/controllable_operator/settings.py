"""What the operator itself is told, by its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Every pod with a ServiceAccount's token has it.
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def pods_namespace() -> str:
    """The namespace of the pod that this runs in, "" outside of pods."""
    return _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else ""


@dataclass(frozen=True)
class Settings:
    """Settings of one operator process.

    runtime_image: image of models that name none; empty means that every model must name one.
    prometheus_url: where Prometheus is; empty means that KEDA is of no use, and nothing is measured.
    namespace: the operator's own, whose pods read the metrics of a canary; empty outside a cluster.
    nvlink_attribute: of devices of DRA that NVLink connects, by its full name; empty for NVIDIA's own only.
    """

    runtime_image: str = ""
    prometheus_url: str = ""
    namespace: str = ""
    nvlink_attribute: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings out of variables whose names begin with CONTROLLABLE_."""
        return cls(
            runtime_image=environment.get("CONTROLLABLE_RUNTIME_IMAGE", ""),
            prometheus_url=environment.get("CONTROLLABLE_PROMETHEUS_URL", ""),
            nvlink_attribute=environment.get("CONTROLLABLE_NVLINK_ATTRIBUTE", ""),
            namespace=pods_namespace(),
        )
