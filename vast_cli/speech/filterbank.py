"""Log-mel filter banks at 50 frames/s: the input of the acoustic network (paper 4.1)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.fft

from vast_cli.core.arrays import Float32
from vast_cli.core.timebase import PPG_SHIFT, SAMPLE_S, full_ppg_frames, ppg_frames, ppg_samples
from vast_cli.core.timebase import PPG_WINDOW as WINDOW

FFT_SIZE = 1_024
N_MELS = 80
LOW_HZ, HIGH_HZ = 20.0, 7_600.0
LOG_FLOOR = 1e-10  # power; digital silence becomes log(1e-10) = -23.03 in every band


@lru_cache(maxsize=1)
def mel_weights() -> Float32:
    """Triangles of the filter bank, [513, 80], peak 1 without area norm, HTK mel scale."""

    def mel(hz: float) -> float:
        return 2595.0 * math.log10(1.0 + hz / 700.0)

    corners = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), N_MELS + 2)
    corners_hz = 700.0 * (10.0 ** (corners / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(FFT_SIZE, SAMPLE_S)[:, None]
    left, peak, right = corners_hz[:-2], corners_hz[1:-1], corners_hz[2:]
    rise, fall = (bins - left) / (peak - left), (right - bins) / (right - peak)
    weights = np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=1)
def _hann() -> Float32:
    window = (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)  # periodic
    window.setflags(write=False)
    return window


class FilterBankStream:
    """Filter banks of audio that arrives in blocks of any size.

    Frame j covers samples [320 j, 320 j + 640); samples that do not fill a frame wait for the next block.
    """

    def __init__(self) -> None:
        self._rest: Float32 = np.zeros(0, np.float32)  # samples from the next frame's first one on

    def push(self, block: Float32) -> Float32:
        """Take samples [n], in [-1, 1], and return the frames they complete, [T, 80] with T >= 0."""
        samples = np.concatenate([self._rest, block])
        n_frames = full_ppg_frames(len(samples))
        self._rest = samples[ppg_samples(n_frames) :]
        return _frames(samples, n_frames)

    def finish(self) -> Float32:
        """Return the last frames, whose windows reach beyond the end and are padded with zeros, [0 ... 2, 80]."""
        last = ppg_frames(len(self._rest))
        padded = np.concatenate([self._rest, np.zeros(WINDOW, np.float32)])
        self._rest = np.zeros(0, np.float32)
        return _frames(padded, last)


def _frames(samples: Float32, count: int) -> Float32:
    if count == 0:
        return np.zeros((0, N_MELS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::PPG_SHIFT][:count]
    spectrum = scipy.fft.rfft(windows * _hann(), FFT_SIZE, axis=1)  # single precision, which numpy < 2 does not have
    power = spectrum.real**2 + spectrum.imag**2
    features: Float32 = np.log(np.maximum(power @ mel_weights(), np.float32(LOG_FLOOR)))
    return features


def log_mel(samples: Float32) -> Float32:
    """Features of whole audio: [n] at 16 kHz -> [ceil(n / 320), 80], natural log of power, >= -23.03."""
    stream = FilterBankStream()
    return np.concatenate([stream.push(np.asarray(samples, np.float32)), stream.finish()])
