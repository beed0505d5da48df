"""Fixtures for all tests."""

pytest_plugins = ["cluster_fixtures"]
