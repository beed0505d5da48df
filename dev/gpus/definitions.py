"""Definitions of others' kinds as their makers publish them, for tests: from Go modules, cached by Go.

Each is pinned by version and by the hash that Go has of the module.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import yaml

from dev.cluster.errors import ClusterError
from dev.gpus.modules import downloaded

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """A CustomResourceDefinition in a Go module."""

    module: str
    sum: str
    path: str


COMPUTE_DOMAINS = Published(
    "sigs.k8s.io/dra-driver-nvidia-gpu@v0.5.0",
    "h1:CjUBJwemlt4kYy5AN+I7Ce4mMp9V4VKR97EBogSoDus=",
    "deployments/helm/dra-driver-nvidia-gpu/crds/resource.nvidia.com_computedomains.yaml",
)
LEADER_WORKER_SETS = Published(
    "sigs.k8s.io/lws@v0.8.0",
    "h1:DdhJ8QabwTfWgbgaHH2gdf8twliioHaoSfmDXRYEVU0=",
    "config/crd/bases/leaderworkerset.x-k8s.io_leaderworkersets.yaml",
)
LOCAL_QUEUES = Published(
    "sigs.k8s.io/kueue@v0.17.0",
    "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I=",
    "config/components/crd/bases/kueue.x-k8s.io_localqueues.yaml",
)
ALL = (COMPUTE_DOMAINS, LEADER_WORKER_SETS, LOCAL_QUEUES)


def definition(published: Published) -> Manifest:
    """The definition; the first time, this needs Go and its module proxy."""
    file = _folder(published) / published.path
    found = [document for document in yaml.safe_load_all(file.read_text()) if document]
    return dict(found[0])


def _folder(published: Published) -> Path:
    told = downloaded(published.module, Path(gettempdir()))  # in no module's folder
    if told["Sum"] != published.sum:
        raise ClusterError(f"{published.module} has the hash {told['Sum']}, not {published.sum}")
    return Path(told["Dir"])
