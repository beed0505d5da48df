"""The node's own network: one bridge, with the node's address (API server, kubelet) and the DNS server's.

It lies in a network namespace that nothing else shares, so every cluster uses the same addresses and no
packet leaves them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

NODE = "node-0"
NODE_IP = "10.244.0.1"
DNS_SERVER_IP = "10.244.0.2"  # where CoreDNS listens, behind the Service DNS_IP; as if it were a pod
PODS = "10.244.0.0/24"
FIRST_POD = "10.244.0.10"
SERVICES = "10.96.0.0/16"
SERVICE_IP = "10.96.0.1"  # of the API server: the first of SERVICES
DNS_IP = "10.96.0.10"
BRIDGE = "cni0"
API_SERVER = f"https://{NODE_IP}:6443"

SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # packets between two pods stay on the bridge: only this shows them to nftables (Services, NetworkPolicy)
    "net/bridge/bridge-nf-call-iptables": "1",
}


def create() -> None:
    """Make the bridge and its routes in the network namespace of this process."""
    for name, value in SYSCTLS.items():
        (Path("/proc/sys") / name).write_text(value)
    for command in (
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"addr add {NODE_IP}/24 dev {BRIDGE}",
        f"addr add {DNS_SERVER_IP}/32 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        # there is no default route, and kube-proxy's rules see only packets that have some route
        f"route add {SERVICES} dev {BRIDGE} src {NODE_IP}",
    ):
        subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True)
