"""Keep nftables in step with the cluster: `python -m dev.cluster.netpol PKI_FOLDER`, on the node."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

from dev.cluster.api import Api
from dev.cluster.netpol.nft import ruleset
from dev.cluster.netpol.rules import Object, compile_policies
from dev.cluster.network import DNS_SERVER_IP

PODS = "/api/v1/pods"
NAMESPACES = "/api/v1/namespaces"
POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"

# The DNS server is a process of the node; policies know it as the pod that it is on other clusters.
DNS_SERVER: Object = {
    "metadata": {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
    "spec": {
        "containers": [
            {
                "ports": [
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "containerPort": 53},
                ]
            }
        ]
    },
    "status": {"podIP": DNS_SERVER_IP},
}


def follow(api: Api, path: str, seen: dict[str, list[Object]], changed: Event) -> None:
    """Keep `seen[path]` current for ever."""
    while True:
        try:
            for objects in api.watch(path):
                seen[path] = objects
                changed.set()
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", flush=True)
        time.sleep(0.5)


def main() -> None:
    api, changed = Api(Path(sys.argv[1]), "network-policy"), Event()
    seen: dict[str, list[Object]] = {}
    for path in (PODS, NAMESPACES, POLICIES):
        Thread(target=follow, args=(api, path, seen, changed), daemon=True).start()
    applied = ""
    while True:
        changed.wait()
        changed.clear()
        if len(seen) < 3:
            continue
        script = ruleset(compile_policies([*seen[PODS], DNS_SERVER], seen[NAMESPACES], seen[POLICIES]))
        if script != applied:
            result = subprocess.run(["nft", "-f", "-"], input=script, text=True, capture_output=True)
            if result.returncode == 0:
                applied = script
            else:  # the rules of before stay in force
                print(f"{result.stderr}{script}", flush=True)
        time.sleep(0.05)  # changes come in bursts


if __name__ == "__main__":
    main()
