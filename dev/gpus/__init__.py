"""GPUs that are only told of, for tests and demos of placement on machines that have none.

`topologies.py` describes nodes with GPUs, and follows from that what NVIDIA's DRA driver and GPU Feature
Discovery would tell of them. `driver.py` is a real DRA driver for the local cluster's kubelet, so that pods
with claims start; `fleet.py` makes nodes that no kubelet runs, for the scheduler. See `python -m dev.gpus`.
"""
