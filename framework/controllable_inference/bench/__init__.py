"""Measures controllers on unseen problems, through the engine that serves them."""
