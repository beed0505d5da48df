"""Keys of paths' random numbers: one for each path, from its request's seed."""

from __future__ import annotations

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014). x (n,) uint64 -> (n,) uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def path_key(seed: int, path: int) -> int:
    """Key of one path's stream of random numbers."""
    with np.errstate(over="ignore"):
        start = mix(np.array([seed & (2**64 - 1)], dtype=np.uint64) + GAMMA)
        return int(mix(start ^ (np.uint64(path + 1) * GAMMA))[0])
