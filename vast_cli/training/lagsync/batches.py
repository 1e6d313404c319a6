"""Batches for LagSync: runs of frames, each copy of a mouth and of a sound altered in its own way."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.core.timebase import FPS
from vast_cli.sync.audio import A_FRAME, N_MELS, normalise
from vast_cli.sync.mouth import SIZE
from vast_cli.sync.network import FRAMES, SOUNDS
from vast_cli.sync.score import MAX_LAG
from vast_cli.training.lagsync.corpus import LIP_POINTS, ROOM, SHAPE_POINTS, Talker, mirror_order

log = logging.getLogger(__name__)

RUN = 31  # frames; a clip of lrcar
AROUND = 8 * FPS  # frames of sound on each side that an altered copy is made of
SOUND_WINDOWS = RUN - FRAMES + 1 + 2 * MAX_LAG  # sound windows of a run at all lags
SET_SHARES = {"talk": 1.0, "avatar": 0.7, "grid": 1.0, "grid_s1": 0.35, "lrcar": 0.7}  # of a second of each set


@dataclass(frozen=True)
class Batch:
    """`b` runs of frames."""

    pictures: NDArray[np.uint8]  # [b, RUN, 96, 96]
    shape: Float32  # [b, RUN, 42, 2], in units of 8 pixels, lips' centre taken out
    windows: Float32  # [b, SOUND_WINDOWS, 20, 40]; row MAX_LAG + i belongs to mouth window i
    heard: NDArray[np.bool_]  # [b, SOUND_WINDOWS], False beyond the ends of the clip
    same: NDArray[np.bool_]  # [b, b], two runs of one clip; False on the diagonal


class Batches:
    """Draws runs from clips, by seconds of speech and set; the same (seed, step) draws the same."""

    def __init__(self, talkers: Sequence[Talker], *, size: int, seed: int, alter: bool = True) -> None:
        self.talkers = [t for t in talkers if len(starts(t))]
        self.starts = [starts(t) for t in self.talkers]
        weight = np.array([len(s) * SET_SHARES.get(t.set, 1.0) for s, t in zip(self.starts, self.talkers, strict=True)])
        self.p = weight / weight.sum()
        self.size, self.seed, self.alter = size, seed, alter

    def draw(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.talkers), self.size, p=self.p)
        runs = [self._run(self.talkers[k], int(rng.choice(self.starts[k])), rng) for k in chosen]
        same = (chosen[:, None] == chosen[None]) & ~np.eye(self.size, dtype=np.bool_)
        return Batch(*(np.stack(part) for part in zip(*runs, strict=True)), same)

    def _run(self, talker: Talker, start: int, rng: np.random.Generator) -> tuple[NDArray, ...]:
        part = slice(start, start + RUN)
        pictures, shape = altered_pictures(talker.crops[part], talker.shape[part], rng if self.alter else None)
        first, last = max(0, start - AROUND), min(talker.n_frames, start + RUN + AROUND)
        features = talker.sound[A_FRAME * first : A_FRAME * last]
        features = altered_sound(features, rng) if self.alter else features
        return pictures, shape, *sound_run(normalise(features), last - first, start - first)


def starts(talker: Talker) -> NDArray[np.int64]:
    """First frames of runs in which every face was seen, without a cut."""
    if talker.n_frames < RUN:
        return np.zeros(0, np.int64)
    whole = np.lib.stride_tricks.sliding_window_view(talker.windows, RUN - FRAMES + 1).all(axis=1)
    return np.flatnonzero(whole)


def sound_run(features: Float32, n_frames: int, start: int) -> tuple[Float32, NDArray[np.bool_]]:
    """The sound windows at all lags of a run of pictures, and which of them exist."""
    index = np.arange(start - MAX_LAG, start - MAX_LAG + SOUND_WINDOWS)
    heard = (index >= 0) & (index <= n_frames - FRAMES)
    rows = np.clip(index, 0, n_frames - FRAMES)[:, None] * A_FRAME + np.arange(SOUNDS)
    return features[rows], heard


def altered_pictures(crops: NDArray, shape: Float32, rng: np.random.Generator | None) -> tuple[NDArray, Float32]:
    """A run as another camera would have taken it: place, size, turn, light, blur, noise, compression.

    Args:
        crops: [n, 128, 128].
        shape: [n, 42, 2], pixels from the crop's centre.
        rng: None: the middle of the crops, unaltered.

    Returns:
        [n, 96, 96] and the shape of what is seen there, in units of 8 pixels, from the lips' centre.
    """
    n = len(crops)
    if rng is None:
        edge = (ROOM - SIZE) // 2
        return np.ascontiguousarray(crops[:, edge : edge + SIZE, edge : edge + SIZE]), relative(shape)
    angle, size = rng.normal(0, 0.07), np.exp(rng.normal(0, 0.08))
    squeeze, skew = np.exp(rng.normal(0, 0.05)), rng.normal(0, 0.04)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    c, s = np.cos(angle), np.sin(angle)
    linear = size * np.array([[c, -s], [s, c]]) @ np.array([[mirror * squeeze, skew], [0, 1 / squeeze]])
    shift = rng.normal(0, 4.0, 2) + rng.normal(0, 0.4, (n, 2)) + _drift(n, 1.5, rng)
    sight = _Sight(rng)
    pictures = np.empty((n, SIZE, SIZE), np.uint8)
    for k in range(n):
        offset = shift[k] + (SIZE / 2 - 0.5) - linear @ np.full(2, ROOM / 2 - 0.5)
        affine = np.concatenate([linear, offset[:, None]], axis=1)
        moved = cv2.warpAffine(crops[k], affine, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        pictures[k] = sight(moved)
    points = shape[:, mirror_order()] if mirror < 0 else shape
    return pictures, relative(points @ linear.T.astype(np.float32))


def relative(shape: Float32) -> Float32:
    centre = shape[:, :LIP_POINTS].mean(axis=1, keepdims=True)
    return ((shape - centre) / 8).astype(np.float32)


def _drift(n: int, sd: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A slow wander, as a tracker's, [n, 2]."""
    knots = rng.normal(0, sd, (4, 2))
    where = np.linspace(0, 3, n)
    return np.stack([np.interp(where, np.arange(4), knots[:, k]) for k in range(2)], axis=1)


class _Sight:
    """Light and loss of one run: the same for all its frames, noise apart."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        levels = np.arange(256) / 255
        gamma, gain, lift = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.15)), rng.normal(0, 0.06)
        self.curve = np.clip(255 * (gain * levels**gamma + lift), 0, 255).astype(np.uint8)
        y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
        self.light = (1 + rng.normal(0, 0.15) * x + rng.normal(0, 0.15) * y).astype(np.float32)
        self.blur = rng.uniform(0.3, 1.6) if rng.random() < 0.35 else 0.0
        self.coarse = int(rng.integers(28, 80)) if rng.random() < 0.3 else 0
        self.sharp = rng.uniform(0.3, 1.2) if rng.random() < 0.2 else 0.0
        self.noise = rng.uniform(1, 7) if rng.random() < 0.4 else 0.0
        self.quality = int(rng.integers(12, 85)) if rng.random() < 0.4 else 0

    def __call__(self, picture: NDArray) -> NDArray:
        out = self.curve[picture]
        if self.coarse:
            small = cv2.resize(out, (self.coarse, self.coarse), interpolation=cv2.INTER_AREA)
            out = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        if self.blur:
            out = cv2.GaussianBlur(out, (0, 0), self.blur)
        bright = out * self.light
        if self.sharp:
            bright += self.sharp * (bright - cv2.GaussianBlur(bright, (0, 0), 1.2))
        if self.noise:
            bright += self.rng.standard_normal((SIZE, SIZE), dtype=np.float32) * self.noise
        out = np.clip(bright, 0, 255).astype(np.uint8)
        if self.quality:
            code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            out = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
        return out


def altered_sound(features: Float32, rng: np.random.Generator) -> Float32:
    """Log-mel features as another throat, room and microphone would give them.

    Args:
        features: [T, 40], natural log of power, not normalised.
    """
    x = features
    bands = np.arange(N_MELS)
    if rng.random() < 0.7:  # throat: the mel axis stretched
        where = np.clip(bands * np.exp(rng.normal(0, 0.06)) + rng.normal(0, 0.4), 0, N_MELS - 1)
        left = np.minimum(where.astype(np.int64), N_MELS - 2)
        part = (where - left).astype(np.float32)
        x = x[:, left] * (1 - part) + x[:, left + 1] * part
    if rng.random() < 0.3:  # room: power dies away
        x = _reverberate(x, rng)
    if rng.random() < 0.6:  # noise of another colour, from far below speech to nearly as loud
        level = np.percentile(x.mean(axis=1), 90) - rng.uniform(1.0, 9.0)
        colour = level + _smooth(rng, 1.2) - rng.uniform(-0.03, 0.06) * (bands - 20)
        wobble = rng.normal(0, 0.5, x.shape) + np.repeat(rng.normal(0, 0.4, (len(x) // 25 + 1, 1)), 25, 0)[: len(x)]
        x = np.logaddexp(x, colour + wobble)
    x = x + _smooth(rng, 0.6) + rng.normal(0, 0.02) * (bands - 20)  # microphone
    if rng.random() < 0.3:  # bands cut off
        low, high = (rng.integers(0, 6), rng.integers(26, N_MELS + 1))
        x[:, :low] = np.minimum(x[:, :low], x[:, low : low + 1] - 6)
        x[:, high:] = np.minimum(x[:, high:], x.min() + 1)
    return x.astype(np.float32)


def _smooth(rng: np.random.Generator, sd: float) -> NDArray[np.float64]:
    knots = rng.normal(0, sd, 6)
    return np.interp(np.linspace(0, 5, N_MELS), np.arange(6), knots)


def _reverberate(x: Float32, rng: np.random.Generator) -> Float32:
    from scipy.signal import lfilter

    decay = 10 ** (-6 * 0.01 / rng.uniform(0.15, 0.7))  # power over 10 ms
    power = np.exp(x.astype(np.float64))
    tail = lfilter([0.0, (1 - decay)], [1.0, -decay], power, axis=0)
    return np.log(power + rng.uniform(0.05, 0.6) * tail + 1e-9).astype(np.float32)


assert SHAPE_POINTS == LIP_POINTS + 2
