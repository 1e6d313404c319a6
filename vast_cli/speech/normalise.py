"""Mean normalisation of the filter banks: removes microphone and loudness from the features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from vast_cli.core.arrays import Float32

SCALE = 3.0  # the sd of log bands over speech is near 3; a constant, so that quiet bands are not blown up


def windowed_mean(
    features: Float32,
    mean: Float32,
    rows: range,
    *,
    half_window: int,
    prior_frames: float,
    gate: float,
    ahead: int | None = None,
) -> NDArray[np.float64]:
    """Mean of the *sounding* frames around each row, shrunk towards the training mean.

    m_t = (K g + sum_i w_ti f_i) / (K + sum_i w_ti),  w_ti = 1 where t - W <= i <= t + A and level_i > peak_t - D;
    level = mean over the bands, peak_t = the highest level in the window. The gate D makes the mean forget pauses:
    ten seconds of digital zeros before a sentence do not move it. Audio mostly comes from files, so the W = 6 s ahead
    are available, too (A = W): short audio gets the mean of the whole, which scores best, memory stays bounded over
    hours, and the microphone may change on the way. A = 0 is the running mean, for live audio.

    Args:
        features: [T, 80], log-mel frames; frames beyond the ends of the audio do not exist, not even as zeros.
        mean: [80], mean of the training data, g.
        rows: the rows of `features` to compute.
        half_window: W in frames.
        prior_frames: K, weight of g in frames.
        gate: D in nats of mean log power.
        ahead: A in frames, W if not given.

    Returns:
        [len(rows), 80], depends on rows t - W ... t + A only.
    """
    ahead = half_window if ahead is None else ahead
    low, high = max(0, rows.start - half_window), min(len(features), rows.stop + ahead)
    near = features[low:high]
    level = near.mean(axis=1)
    away = np.arange(low, high)[None, :] - np.arange(rows.start, rows.stop)[:, None]
    inside = (-half_window <= away) & (away <= ahead)
    peak = _highest(level, rows.start - low, rows.stop - low, half_window, ahead)[:, None]
    weight = (inside & (level > peak - gate)).astype(np.float32)
    total = prior_frames * mean.astype(np.float64) + weight @ near
    result: NDArray[np.float64] = total / (prior_frames + weight.sum(axis=1, keepdims=True))
    return result


def _highest(level: Float32, start: int, stop: int, before: int, ahead: int) -> Float32:
    """Highest of level[t - before : t + ahead + 1] for t = start ... stop - 1, as far as there are values."""
    padded = np.concatenate([np.full(before, -np.inf, np.float32), level, np.full(ahead, -np.inf, np.float32)])
    size = before + ahead + 1
    # the origin moves the filter's window from around t to t ... t + size - 1
    peaks: Float32 = maximum_filter1d(padded, size, mode="constant", cval=-np.inf, origin=-(size // 2))
    return peaks[start:stop]
