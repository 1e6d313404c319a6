"""The only place that converts samples, PPG frames, video frames and seconds (paper 4.1; `tests/test_claims.py`).

Video frame k is the instant k / 25 s. PPG frame j covers [0.02 j, 0.02 j + 0.04) s, its centre is 0.02 j + 0.02 s.
Audio is counted in samples at 16 kHz. Every count is exact integer arithmetic: no drift at any length. Functions named
`to_...` convert without rounding.
"""

from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Seconds = TypeVar("Seconds", float, Fraction)
Index = TypeVar("Index", int, NDArray[np.int64])

SAMPLE_RATE = 16_000  # Hz, mono, of all audio that networks read
FPS = 25  # video frames per second
PPG_RATE = 50  # posteriorgram frames per second
PPG_WINDOW = 640  # samples, 40 ms
PPG_SHIFT = 320  # samples, 20 ms

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640
PPG_PER_FRAME = PPG_RATE // FPS  # 2
SAMPLE_S = 1 / SAMPLE_RATE
FRAME_S = 1 / FPS
HALF_FRAME_S = 0.5 / FPS


# --- counts of the whole ---------------------------------------------------------------------------------------------


def video_frames(n_samples: int) -> int:
    """Video frames of `n_samples` of 16 kHz audio: the nearest whole number, so both end within half a frame."""
    return (2 * FPS * n_samples + SAMPLE_RATE) // (2 * SAMPLE_RATE)


def full_video_frames(n_samples: int) -> int:
    """Video frames that `n_samples` of 16 kHz audio cover to their end."""
    return n_samples // SAMPLES_PER_FRAME


def ppg_frames(n_samples: int) -> int:
    """Posteriorgram frames of `n_samples` of 16 kHz audio: every sample is in a frame, the last is zero padded."""
    return -(-n_samples // PPG_SHIFT)


def full_ppg_frames(n_samples: int) -> int:
    """Posteriorgram frames whose window is within `n_samples`, without padding."""
    return max(0, (n_samples - PPG_WINDOW) // PPG_SHIFT + 1)


def ppg_samples(n_ppg: Index) -> Index:
    """Samples from the start of PPG frame 0 to the start of frame `n_ppg`."""
    return n_ppg * PPG_SHIFT


def frames_at_rate(n_samples: int, fps: float) -> int:
    """Frames at another rate of `n_samples` of 16 kHz audio: the nearest whole number, at least 1."""
    return max(1, int(Fraction(fps) * n_samples / SAMPLE_RATE + Fraction(1, 2)))


# --- to seconds ------------------------------------------------------------------------------------------------------


def seconds(frame: float) -> float:
    """Start of video frame `frame`, which is the length of that many frames, in seconds."""
    return frame / FPS


def frame_milliseconds(n_frames: int) -> NDArray[np.float64]:
    """Instants of video frames 0 .. `n_frames` - 1, in milliseconds."""
    return 1000 / FPS * np.arange(n_frames, dtype=np.float64)


def ppg_seconds(n_ppg: float) -> float:
    """Length of that many PPG frames in seconds."""
    return n_ppg / PPG_RATE


def audio_seconds(n_samples: int) -> float:
    """Length of that many samples in seconds."""
    return n_samples / SAMPLE_RATE


def audio_milliseconds(n_samples: int) -> float:
    """Length of that many samples in milliseconds."""
    return 1000 * n_samples / SAMPLE_RATE


def whole_seconds(n_samples: int) -> int:
    """Seconds that are complete within that many samples."""
    return n_samples // SAMPLE_RATE


def sample_times(index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Instants of samples [n], in seconds."""
    return index.astype(np.float64) / SAMPLE_RATE


def ppg_centres(n_ppg: int) -> NDArray[np.float64]:
    """Centres of PPG frames 0 .. `n_ppg` - 1, in seconds."""
    return 0.02 * np.arange(n_ppg, dtype=np.float64) + 0.02


def ppg_centre_milliseconds(n_ppg: int) -> NDArray[np.float64]:
    """Centres of PPG frames 0 .. `n_ppg` - 1, in milliseconds."""
    return 20.0 * np.arange(n_ppg, dtype=np.float64) + 20.0


# --- from seconds ----------------------------------------------------------------------------------------------------


def to_frames(seconds: Seconds) -> Seconds:
    """Video frames in that many seconds, not rounded."""
    return seconds * FPS


def to_ppg(seconds: Seconds) -> Seconds:
    """PPG frames in that many seconds, not rounded."""
    return seconds * PPG_RATE


def to_samples(seconds: Seconds) -> Seconds:
    """Samples in that many seconds, not rounded."""
    return seconds * SAMPLE_RATE


def frame_at(seconds: float) -> int:
    """The nearest video frame (of two equally near the even one)."""
    return round(to_frames(seconds))


def sample_near(seconds: float) -> int:
    """The nearest sample (of two equally near the even one)."""
    return round(to_samples(seconds))


# --- between grids ---------------------------------------------------------------------------------------------------


def sample_at(frame: Index) -> Index:
    """The sample at which video frame `frame` starts."""
    return frame * SAMPLE_RATE // FPS


def video_step(fps: float) -> float:
    """Video frames between two frames at another rate."""
    return FPS / fps


def video_positions(index: NDArray[np.int64], fps: float) -> NDArray[np.float64]:
    """Instants of frames [n] at another rate, in video frames."""
    return index * FPS / fps


def ppg_at(frame: Index) -> Index:
    """The PPG frame that starts with video frame `frame`."""
    return frame * PPG_RATE // FPS


def audio_frames(n_samples: int) -> float:
    """Length of that many samples in video frames, not rounded."""
    return n_samples * FPS / SAMPLE_RATE


def ppg_at_video(n_frames: int, n_ppg: int, *, start: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions of video frames on the posteriorgram's time axis, for linear interpolation (paper 4.1).

    Args:
        n_frames: number of video frames.
        n_ppg: number of posteriorgram frames.
        start: index of the first video frame.

    Returns:
        `left` [n_frames], the earlier neighbour, and `weight` [n_frames] of its successor; both are valid indices.
    """
    # frame j is centred at 0.02 j + 0.02 s, so k / 25 s is at j = 2 k - 1
    position = (PPG_RATE / FPS) * np.arange(start, start + n_frames, dtype=np.float64) - 1.0
    position = np.clip(position, 0.0, max(n_ppg - 1, 0))
    left = np.minimum(position.astype(np.int64), max(n_ppg - 2, 0))
    return left, (position - left).astype(np.float32)


def interpolate_ppg(values: NDArray[np.float32], n_frames: int, *, start: int = 0) -> NDArray[np.float32]:
    """Posteriorgram `values` [T, 40] at video frames: [n_frames, 40], rows still sum to 1."""
    left, weight = ppg_at_video(n_frames, len(values), start=start)
    right = np.minimum(left + 1, len(values) - 1)
    result: NDArray[np.float32] = values[left] * (1 - weight)[:, None] + values[right] * weight[:, None]
    return result
