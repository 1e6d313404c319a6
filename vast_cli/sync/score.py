"""From embeddings to scores: the lag at which mouth and audio fit best, and how clearly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32

MAX_LAG = 15  # frames to each side
MIN_WINDOWS = 25  # 1 s
MIN_PAIRS = 10  # at any lag
SHORT = 25 - 4  # windows of five frames in 25 frames


@dataclass(frozen=True)
class LagScore:
    """Mean cosine of mouth and audio over the lags -15 .. 15, and scores derived from it."""

    lag: int  # frames that the video is late, where they fit best
    margin: float  # of the curve: peak less median
    at0: float  # value at lag 0 less median
    acc: float | None  # share of the stretches of 25 frames that fit best within a frame of lag 0; None: no stretch
    curve: Float32  # [31]


def score(mouth: Float32, audio: Float32, *, valid: NDArray[np.bool_] | None = None) -> LagScore | None:
    """Compare the two embeddings of a video.

    At lag L the mouth of window i is compared with the audio of window i - L; incomplete pairs are left out, nothing is
    padded.

    Args:
        mouth: [N - 4, d], unit vectors.
        audio: [M - 4, d], unit vectors; window i has the same time as that of `mouth`.
        valid: [N - 4], windows in which all five mouths are tracked; all if not given.

    Returns:
        None where fewer than 25 windows (1 s) can be compared.

    Raises:
        ValueError: arrays that do not fit each other.
    """
    if mouth.ndim != 2 or audio.ndim != 2 or mouth.shape[1] != audio.shape[1]:
        raise ValueError(f"embeddings of other kinds: {list(mouth.shape)} and {list(audio.shape)}")
    if valid is not None and valid.shape != (len(mouth),):
        raise ValueError(f"{len(mouth)} windows need as many marks, not {list(valid.shape)}")
    cosines, known = _table(mouth, audio, np.ones(len(mouth), np.bool_) if valid is None else valid)
    pairs = known.sum(axis=0)
    if pairs[MAX_LAG] < MIN_WINDOWS or pairs.min() < MIN_PAIRS:
        return None
    curve = (cosines.sum(axis=0) / pairs).astype(np.float32)
    median = float(np.median(curve))
    return LagScore(
        lag=int(curve.argmax()) - MAX_LAG,
        margin=float(curve.max()) - median,
        at0=float(curve[MAX_LAG]) - median,
        acc=_accuracy(cosines, np.asarray(known.all(axis=1))),
        curve=curve,
    )


def _table(mouth: Float32, audio: Float32, valid: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosine of every mouth window at every lag (0 where there is none), and which exist: [N - 4, 31] each."""
    other = np.arange(len(mouth))[:, None] - np.arange(-MAX_LAG, MAX_LAG + 1)
    known = (other >= 0) & (other < len(audio)) & valid[:, None]
    cosines = np.zeros(other.shape)
    for column in range(2 * MAX_LAG + 1):
        rows = np.flatnonzero(known[:, column])
        # einsum of rows, not all pairs: an hour of video has 90,000 windows
        cosines[rows, column] = np.einsum("id,id->i", mouth[rows], audio[other[rows, column]])
    return cosines, known


def _accuracy(cosines: NDArray[np.float64], complete: NDArray[np.bool_]) -> float | None:
    """Share of stretches of 25 frames with all lags whose best lag is -1, 0 or 1."""
    if len(cosines) < SHORT:
        return None
    sums = np.lib.stride_tricks.sliding_window_view(cosines, SHORT, axis=0).sum(axis=2)
    stretches = np.lib.stride_tricks.sliding_window_view(complete, SHORT).all(axis=1)
    if not stretches.any():
        return None
    best = sums[stretches].argmax(axis=1) - MAX_LAG
    return float((np.abs(best) <= 1).mean())
