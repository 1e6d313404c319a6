"""The only place that converts samples, PPG frames and video frames (paper 4.1).

Video frame k is the instant k / 25 s. PPG frame j covers [0.02 j, 0.02 j + 0.04) s, its centre is 0.02 j + 0.02 s.
Audio is counted in samples at 16 kHz. Every count is exact integer arithmetic: no drift at any length.
"""

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz, mono, what the networks hear
FPS = 25  # video frames a second
PPG_RATE = 50  # posteriorgram frames a second
PPG_WINDOW = 640  # samples, 40 ms
PPG_SHIFT = 320  # samples, 20 ms


def video_frames(n_samples: int) -> int:
    """Video frames of `n_samples` of 16 kHz audio: the nearest whole number, so both end within half a frame."""
    return (2 * FPS * n_samples + SAMPLE_RATE) // (2 * SAMPLE_RATE)


def ppg_frames(n_samples: int) -> int:
    """Posteriorgram frames of `n_samples` of 16 kHz audio: every sample lies in a frame, the last is zero padded."""
    return -(-n_samples // PPG_SHIFT)


def seconds(frame: int) -> float:
    """Start of video frame `frame`, in seconds."""
    return frame / FPS


def ppg_at_video(n_frames: int, n_ppg: int, *, start: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where video instants lie on the posteriorgram's time axis (linear interpolation, paper 4.1).

    Args:
        n_frames: video frames wanted.
        n_ppg: frames of the posteriorgram.
        start: index of the first video frame.

    Returns:
        `left` [n_frames], the earlier neighbour, and `weight` [n_frames] of its successor; both neighbours are inside.
    """
    # centre of j = 0.02 j + 0.02 s, so k / 25 s lies at j = 2 k - 1
    position = (PPG_RATE / FPS) * np.arange(start, start + n_frames, dtype=np.float64) - 1.0
    position = np.clip(position, 0.0, max(n_ppg - 1, 0))
    left = np.minimum(position.astype(np.int64), max(n_ppg - 2, 0))
    return left, (position - left).astype(np.float32)


def interpolate_ppg(values: NDArray[np.float32], n_frames: int, *, start: int = 0) -> NDArray[np.float32]:
    """Posteriorgram `values` [T, 40] at video instants: [n_frames, 40], rows still sum to 1."""
    left, weight = ppg_at_video(n_frames, len(values), start=start)
    right = np.minimum(left + 1, len(values) - 1)
    result: NDArray[np.float32] = values[left] * (1 - weight)[:, None] + values[right] * weight[:, None]
    return result
