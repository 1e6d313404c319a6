"""Mel-frequency cepstra as python_speech_features computes them with its defaults: SyncNet's audio input.

Every convention is part of SyncNet's number: no window function, 26 filters whose corners are rounded to FFT bins,
lifter 22, the first coefficient replaced by the log energy. Differs from the package by less than 1e-6
(checked against version 0.6 on noise, silence and speech of odd lengths).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from vast_cli.core.arrays import Float64

SAMPLE_RATE = 16000
WINDOW = 400  # samples, 25 ms
STEP = 160  # samples, 10 ms
N_FFT = 512
N_FILTERS = 26
N_CEPSTRA = 13
LIFTER = 22
PREEMPHASIS = 0.97
BLOCK = 4096  # windows at once: memory does not grow with their number
EPS = np.finfo(np.float64).eps


def mfcc(samples: NDArray[np.int16]) -> Float64:
    """Cepstra of 16 kHz mono audio, 100 a second.

    Args:
        samples: int16 [n]: loudness goes into the first coefficient, so the scale matters.

    Returns:
        [1 + ceil((n - 400) / 160), 13]; the end is filled with zeros.

    Raises:
        ValueError: no int16 audio of one channel, or an empty one.
    """
    if samples.dtype != np.int16 or samples.ndim != 1 or not len(samples):
        raise ValueError(f"audio of {samples.dtype} {samples.shape}, not int16 [n]")
    bank = filters()
    lift = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(N_CEPSTRA) / LIFTER)
    blocks = []
    for windows in _windows(samples):
        power = np.square(np.abs(np.fft.rfft(windows, N_FFT))) / N_FFT
        energy = power.sum(1)
        bands = power @ bank.T
        cepstra = dct(np.log(np.where(bands == 0, EPS, bands)), type=2, axis=1, norm="ortho")[:, :N_CEPSTRA] * lift
        cepstra[:, 0] = np.log(np.where(energy == 0, EPS, energy))
        blocks.append(cepstra)
    return np.concatenate(blocks)


def _windows(samples: NDArray[np.int16]) -> Iterator[Float64]:
    """Overlapping stretches of the pre-emphasised audio: [up to BLOCK, WINDOW] each."""
    n_windows = 1 + max(0, -(-(len(samples) - WINDOW) // STEP))
    for first in range(0, n_windows, BLOCK):
        n = min(BLOCK, n_windows - first)
        start = first * STEP
        end = start + (n - 1) * STEP + WINDOW
        part = samples[max(start - 1, 0) : end].astype(np.float64)
        if start:
            part = part[1:] - PREEMPHASIS * part[:-1]
        else:
            part[1:] -= PREEMPHASIS * part[:-1].copy()
        part = np.pad(part, (0, end - start - len(part)))
        yield np.lib.stride_tricks.sliding_window_view(part, WINDOW)[::STEP]


def filters() -> Float64:
    """Triangles, evenly spaced in mel, over the bins of the FFT: [26, 257]."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, N_FILTERS + 2) / 2595) - 1)
    bins = np.floor((N_FFT + 1) * corners / SAMPLE_RATE)
    bank = np.zeros((N_FILTERS, N_FFT // 2 + 1))
    for row, (low, middle, high) in enumerate(zip(bins, bins[1:], bins[2:], strict=False)):
        rising, falling = np.arange(int(low), int(middle)), np.arange(int(middle), int(high))
        bank[row, rising] = (rising - low) / (middle - low)
        bank[row, falling] = (high - falling) / (high - middle)
    return bank
