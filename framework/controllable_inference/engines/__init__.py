"""Engines that run controlled requests, and what they have in common: paths, prompts, streams, counters."""
