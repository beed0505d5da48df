"""What each component of the node is told: command lines and configuration files, as values."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.cluster.network import (
    BRIDGE,
    DNS_IP,
    DNS_SERVER_IP,
    FIRST_POD,
    NODE,
    NODE_IP,
    PODS,
    SERVICES,
)
from dev.cluster.paths import ClusterPaths

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:1"
ETCD = "http://127.0.0.1:2379"
COREDNS_HEALTH = "127.0.0.1:8180"


def commands(paths: ClusterPaths) -> dict[str, list[str]]:
    """Command lines of every component, by name, in the order in which they start."""
    return {
        "etcd": etcd(paths),
        "containerd": ["containerd", "--config", str(paths.conf / "containerd.toml")],
        "kube-apiserver": kube_apiserver(paths),
        "kube-controller-manager": kube_controller_manager(paths),
        "kube-scheduler": kube_scheduler(paths),
        "kubelet": kubelet(paths),
        "kube-proxy": ["kube-proxy", f"--config={paths.conf / 'kube-proxy.json'}"],
        "coredns": ["coredns", "-conf", str(paths.conf / "Corefile")],
        "network-policy": [sys.executable, "-m", "dev.cluster.netpol", str(paths.pki)],
    }


def etcd(paths: ClusterPaths) -> list[str]:
    peer = "http://127.0.0.1:2380"
    return [
        "etcd",
        f"--data-dir={paths.run / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # the data does not outlive the cluster
        "--log-level=warn",
    ]


def kube_apiserver(paths: ClusterPaths) -> list[str]:
    pki = paths.pki
    return [
        "kube-apiserver",
        f"--advertise-address={NODE_IP}",
        f"--bind-address={NODE_IP}",
        f"--etcd-servers={ETCD}",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        # aggregated APIs (custom metrics): who the front proxy is, and that endpoints are dialled directly
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        "--enable-aggregator-routing=true",
        f"--audit-policy-file={paths.conf / 'audit.json'}",
        f"--audit-log-path={paths.audit_log}",
        "--audit-log-maxsize=100",  # MiB
        "--audit-log-maxbackup=1",
    ]


def kube_controller_manager(paths: ClusterPaths) -> list[str]:
    config = paths.kubeconfig("kube-controller-manager")
    return [
        "kube-controller-manager",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={paths.pki / 'ca.crt'}",
        f"--service-account-private-key-file={paths.pki / 'service-accounts.key'}",
        f"--cluster-signing-cert-file={paths.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={paths.pki / 'ca.key'}",
        "--allocate-node-cidrs=false",
        # the defaults, 20 and 30, hold pods with resource claims to ten a second
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def kube_scheduler(paths: ClusterPaths) -> list[str]:
    config = paths.kubeconfig("kube-scheduler")
    return [
        "kube-scheduler",
        f"--config={paths.conf / 'kube-scheduler.json'}",
        "--bind-address=127.0.0.1",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
    ]


def kubelet(paths: ClusterPaths) -> list[str]:
    return [
        "kubelet",
        f"--config={paths.conf / 'kubelet.json'}",
        f"--kubeconfig={paths.kubeconfig('kubelet')}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
    ]


def files(paths: ClusterPaths, cgroup: str, cni_plugins: Path) -> dict[str, str]:
    """Configuration files by name, relative to `paths.conf`."""
    documents: Mapping[str, Any] = {
        "kube-scheduler.json": scheduler_config(paths),
        "kubelet.json": kubelet_config(paths, cgroup),
        "kube-proxy.json": proxy_config(paths),
        "cni/10-pods.conflist": cni_config(),
        "audit.json": audit_policy(),
    }
    return {
        "containerd.toml": containerd_config(paths, cni_plugins),
        "Corefile": corefile(paths),
        # no upstream: a name outside the cluster fails at once instead of after a time-out
        "resolv.conf": "",
        **{name: json.dumps(document, indent=2) for name, document in documents.items()},
    }


# For pods that name it: the fullest node that has room is the best one.
PACKING: Mapping[str, Any] = {
    "schedulerName": "packing",
    "pluginConfig": [
        {
            "name": "NodeResourcesFit",
            "args": {
                "scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}
            },
        }
    ],
}


def scheduler_config(paths: ClusterPaths) -> dict[str, Any]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": str(paths.kubeconfig("kube-scheduler")),
            "qps": 500,
            "burst": 1000,
        },
        "leaderElection": {"leaderElect": False},
        "profiles": [{"schedulerName": "default-scheduler"}, PACKING],
    }


def kubelet_config(paths: ClusterPaths, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(paths.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(paths.pki / "kubelet-server.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(paths.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": ["pods"],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": str(paths.conf / "resolv.conf"),
        "maxPods": 200,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "5s",
        # a developer's disk is often fuller than a server's may be; images come from here and can't be pulled
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def audit_policy() -> dict[str, Any]:
    """What is recorded: what pods ask the API server for, so that a role can be held to its use."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "Panic"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    }


def proxy_config(paths: ClusterPaths) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(paths.kubeconfig("kube-proxy"))},
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "bindAddress": NODE_IP,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0},  # the table's size belongs to the host
        "nftables": {"minSyncPeriod": "0.2s"},
        "oomScoreAdj": 0,
        "nodePortAddresses": [f"{NODE_IP}/32"],
    }


def cni_config() -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": PODS, "rangeStart": FIRST_POD}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    # hairpinMode: a pod reaches itself through its Service
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, portmap]}


def containerd_config(paths: ClusterPaths, cni_plugins: Path) -> str:
    return f"""\
version = 3
imports = []
disabled_plugins = [
  'io.containerd.nri.v1.nri',
  'io.containerd.internal.v1.opt',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
]

[grpc]
  address = '{CONTAINERD_SOCKET}'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{cni_plugins}']
    conf_dir = '{paths.conf / "cni"}'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def corefile(paths: ClusterPaths) -> str:
    """Names of the cluster; any other name does not exist, which resolvers take at once, unlike a failure."""
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
  bind {DNS_SERVER_IP}
  errors
  health {COREDNS_HEALTH}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {paths.kubeconfig("coredns")} local
    pods verified
    ttl 5
  }}
}}
.:53 {{
  bind {DNS_SERVER_IP}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""
