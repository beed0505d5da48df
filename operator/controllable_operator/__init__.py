"""Kubernetes operator that turns ControllableModel resources into NVIDIA Triton deployments."""
