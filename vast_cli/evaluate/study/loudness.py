"""Measures and equalises integrated loudness (ITU-R BS.1770-4), so that no method is rated by its volume.

Each clip gets one gain. ffmpeg's `loudnorm` changes the level within a clip, and cannot measure a clip of 3 s.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from vast_cli.core.timebase import SAMPLE_RATE

TARGET_LUFS = -23.0  # EBU R 128
PEAK = 10 ** (-1 / 20)  # -1 dB of full scale
_BLOCK_S, _STEP_S = 0.4, 0.1
_OFFSET, _SILENCE_LUFS, _RELATIVE_LU = -0.691, -70.0, -10.0

Samples = NDArray[np.float32]


def loudness(samples: Samples, sample_rate: int = SAMPLE_RATE) -> float | None:
    """LUFS of mono audio [n]; None if all of it is silence."""
    weighted = samples.astype(np.float64)
    for numerator, denominator in _k_weighting(sample_rate):
        weighted = lfilter(numerator, denominator, weighted)
    size, step = round(_BLOCK_S * sample_rate), round(_STEP_S * sample_rate)
    starts = range(0, max(len(weighted) - size, 0) + 1, step)
    power = np.array([np.mean(weighted[start : start + size] ** 2) for start in starts]) + 1e-20
    level = _OFFSET + 10 * np.log10(power)
    power, level = power[level > _SILENCE_LUFS], level[level > _SILENCE_LUFS]
    if not len(power):
        return None
    gate = _OFFSET + 10 * math.log10(power.mean()) + _RELATIVE_LU
    return float(_OFFSET + 10 * math.log10(power[level > gate].mean()))


def equalise_loudness(clips: list[Samples]) -> tuple[list[Samples], float]:
    """All clips at one loudness, and its level: -23 LUFS, or less if a peak would clip. Silence stays silence."""
    levels = [loudness(samples) for samples in clips]
    target = TARGET_LUFS
    for samples, level in zip(clips, levels, strict=True):
        if level is not None:
            target = min(target, level + 20 * math.log10(PEAK / float(np.abs(samples).max())))
    return [
        samples if level is None else (samples * np.float32(10 ** ((target - level) / 20)))
        for samples, level in zip(clips, levels, strict=True)
    ], target


def _k_weighting(rate: int) -> list[tuple[list[float], list[float]]]:
    """The two filters of the standard, which gives them at 48 kHz, from their analogue prototypes."""
    k = math.tan(math.pi * 1681.974450955533 / rate)
    q, high, middle = (
        0.7071752369554196,
        10 ** (3.999843853973347 / 20),
        10 ** (3.999843853973347 / 20 * 0.4996667741545416),
    )
    norm = 1 + k / q + k * k
    shelf = (
        [(high + middle * k / q + k * k) / norm, 2 * (k * k - high) / norm, (high - middle * k / q + k * k) / norm],
        [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm],
    )
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    norm = 1 + k / q + k * k
    return [shelf, ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm])]
