"""Templates of any length: the footage's poses forwards and backwards, without jumps."""

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32

EASE = 12  # frames before and after a turning point in which the motion slows down


def positions(start: int, n: int, *, length: int, seed: int) -> NDArray[np.float64]:
    """Positions in the footage of the video frames start ... start + n - 1: [n], fractional frame numbers.

    A triangle wave over 0 ... length - 1 with corners rounded to parabolas; the seed selects where it starts.
    """
    last = length - 1
    if last <= 0:
        return np.zeros(n)
    ease = min(EASE, last / 2)
    offset = 0 if seed == 0 else int(np.random.default_rng(seed).integers(0, 2 * last))
    phase = (np.arange(start, start + n) + offset) % (2 * last)
    triangle = np.where(phase <= last, phase, 2 * last - phase).astype(np.float64)
    to_low, to_high = triangle, last - triangle
    rounded = np.where(to_low < ease, (to_low**2 + ease**2) / (2 * ease), triangle)
    return np.where(to_high < ease, last - (to_high**2 + ease**2) / (2 * ease), rounded)


def interpolate(values: Float32, at: NDArray[np.float64]) -> Float32:
    """Linear interpolation of values [length, ...] at fractional positions [n]."""
    left = np.minimum(at.astype(np.int64), max(len(values) - 2, 0))
    right = np.minimum(left + 1, len(values) - 1)
    weight = (at - left).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    result: Float32 = values[left] * (1 - weight) + values[right] * weight
    return result
