"""NetworkPolicy, enforced on the node with nftables: the bridge CNI plugin enforces none.

Complete for IPv4: both directions, pod and namespace selectors, address blocks, port numbers, ranges and
names. Two liberties. A policy reaches a new pod a moment after the pod has its address, not before. And a
pod whose egress is restricted is held to it towards its own node as well, so that the API server, which
shares the node here, is as far from it as on a cluster of many nodes; the node itself always reaches its
pods (probes).
"""
