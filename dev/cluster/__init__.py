"""A real single-node Kubernetes on plain Linux: no Docker, no virtual machine, nothing left behind.

The binaries are built from the Go tool modules in `tools/`. A cluster is one process with namespaces of its
own (process ids, network, mounts): when it ends, the kernel ends everything in it. See `python -m
dev.cluster --help`.
"""
