"""Audio features of LagSync: 100 log-mel frames a second without level and colour."""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from vast_cli.core.arrays import Float32
from vast_cli.core.timebase import SAMPLE_S, SAMPLES_PER_FRAME

N_MELS = 40
HOP = 160  # samples, 10 ms
WINDOW = 400  # samples, 25 ms
FFT_SIZE = 512
LOW_HZ, HIGH_HZ = 60.0, 7_600.0
MELS_PER_FRAME = SAMPLES_PER_FRAME // HOP  # 4 log-mel frames in a video frame
LOG_FLOOR = 1e-9  # power
QUIETEST = -6.0  # least normalised feature, in nats from the mean of the speech around: digital silence
GATE = 5.0  # frames this many nats below the loudest around do not count in the mean
AROUND = 1000  # frames on each side in the mean, 10 s
SCALE = 2.0


@lru_cache(maxsize=1)
def _bands() -> Float32:
    """Triangles of the filter bank, [257, 40], HTK mel scale."""
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (LOW_HZ, HIGH_HZ))
    corners = 700.0 * (10.0 ** (np.linspace(low, high, N_MELS + 2) / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(FFT_SIZE, SAMPLE_S)[:, None]
    left, peak, right = corners[:-2], corners[1:-1], corners[2:]
    rise, fall = (bins - left) / (peak - left), (right - bins) / (right - peak)
    return np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)


def log_mel(samples: Float32, n_frames: int) -> Float32:
    """Features of audio, loudness not normalised.

    Args:
        samples: [n] at 16 kHz.
        n_frames: log-mel frames to compute; beyond the samples there is silence.

    Returns:
        [n_frames, 40]; row j is centred on (j + .5) 10 ms.
    """
    lead = (WINDOW - HOP) // 2
    length = lead + n_frames * HOP + WINDOW
    padded = np.zeros(length, np.float32)
    used = samples[: length - lead]
    padded[lead : lead + len(used)] = used
    window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:n_frames]
    rows = [_spectrum(pieces[k : k + 4096] * window) for k in range(0, n_frames, 4096)]
    return np.concatenate([*rows, np.zeros((0, N_MELS), np.float32)])


def _spectrum(pieces: Float32) -> Float32:
    spectrum = scipy.fft.rfft(pieces, FFT_SIZE, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    result: Float32 = np.log(power @ _bands() + np.float32(LOG_FLOOR)).astype(np.float32)
    return result


def normalise(features: Float32) -> Float32:
    """Features less the mean of the sounding frames within 10 s, which removes gain and microphone.

    Args:
        features: [T, 40], from `log_mel`.

    Returns:
        [T, 40], about -3 .. 2; zero is the mean speech around.
    """
    if not len(features):
        return features
    level = features.mean(axis=1)
    peak = maximum_filter1d(level, 2 * AROUND + 1, mode="nearest")
    sounding = (level > peak - GATE).astype(np.float64)

    def around(x: NDArray[np.float64]) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = uniform_filter1d(x, 2 * AROUND + 1, axis=0, mode="constant")
        return mean

    total = around(features * sounding[:, None])
    share = np.maximum(around(sounding), 1e-9)[:, None]
    return (np.maximum(features - total / share, QUIETEST) / SCALE).astype(np.float32)


def windows(features: Float32, n_frames: int) -> Float32:
    """The audio of frames i .. i + 4 for every i: a view [n_frames - 4, 20, 40] of features [4 n_frames, 40]."""
    view = np.lib.stride_tricks.sliding_window_view(features, 5 * MELS_PER_FRAME, axis=0)[::MELS_PER_FRAME]
    result: Float32 = view[: max(0, n_frames - 4)].transpose(0, 2, 1)
    return result
