"""Batches for LagSync: runs of frames, mouths and audio each augmented in their own way."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float32, Float64, Image, Int64
from vast_cli.sync.audio import MELS_PER_FRAME, N_MELS, normalise
from vast_cli.sync.mouth import SIZE
from vast_cli.sync.network import AUDIO_FRAMES, FRAMES
from vast_cli.sync.score import MAX_LAG
from vast_cli.training.lagsync.corpus import CROP_SIZE, LIP_POINTS, LagSyncClip, mirror_order

RUN = 31  # frames; a clip of lrcar
CONTEXT = timebase.frame_at(8)  # frames of audio on each side that are augmented and normalised together with a run
AUDIO_WINDOWS = RUN - FRAMES + 1 + 2 * MAX_LAG  # audio windows of a run at all lags
SET_SHARES = {"talk": 1.0, "avatar": 0.7, "grid": 1.0, "grid_s1": 0.35, "lrcar": 0.7}  # of a second of each set


@dataclass(frozen=True)
class LagSyncBatch:
    """`b` runs of frames."""

    crops: Image  # [b, RUN, 96, 96]
    shape: Float32  # [b, RUN, 42, 2], in units of 8 pixels, lips' centre taken out
    audio: Float32  # [b, AUDIO_WINDOWS, 20, 40]; row MAX_LAG + i belongs to mouth window i
    audio_exists: Bools  # [b, AUDIO_WINDOWS], False beyond the ends of the clip
    same_clip: Bools  # [b, b], two runs of one clip; False on the diagonal


class LagSyncBatches:
    """Samples runs from clips, by seconds of speech and set; the same (seed, step) gives the same batch."""

    def __init__(self, clips: Sequence[LagSyncClip], *, size: int, seed: int, augment: bool = True) -> None:
        self.clips = [clip for clip in clips if len(run_starts(clip))]
        self.starts = [run_starts(clip) for clip in self.clips]
        weight = np.array(
            [len(s) * SET_SHARES.get(clip.set, 1.0) for s, clip in zip(self.starts, self.clips, strict=True)]
        )
        self.p = weight / weight.sum()
        self.size, self.seed, self.augment = size, seed, augment

    def draw(self, step: int) -> LagSyncBatch:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.clips), self.size, p=self.p)
        runs = [self._run(self.clips[k], int(rng.choice(self.starts[k])), rng) for k in chosen]
        crops, shapes, audio, exists = zip(*runs, strict=True)
        same_clip = (chosen[:, None] == chosen[None]) & ~np.eye(self.size, dtype=np.bool_)
        return LagSyncBatch(np.stack(crops), np.stack(shapes), np.stack(audio), np.stack(exists), same_clip)

    def _run(self, clip: LagSyncClip, start: int, rng: np.random.Generator) -> tuple[Image, Float32, Float32, Bools]:
        part = slice(start, start + RUN)
        if self.augment:
            crops, shape = augment_mouths(clip.crops[part], clip.shape[part], rng)
        else:
            crops, shape = centre_mouths(clip.crops[part]), relative_shape(clip.shape[part])
        first, last = max(0, start - CONTEXT), min(clip.n_frames, start + RUN + CONTEXT)
        features = clip.audio[MELS_PER_FRAME * first : MELS_PER_FRAME * last]
        features = augment_audio(features, rng) if self.augment else features
        return crops, shape, *audio_windows(normalise(features), last - first, start - first)


def run_starts(clip: LagSyncClip) -> Int64:
    """First frames of runs with a face in every frame, without a cut."""
    if clip.n_frames < RUN:
        return np.zeros(0, np.int64)
    whole = np.lib.stride_tricks.sliding_window_view(clip.windows, RUN - FRAMES + 1).all(axis=1)
    return np.flatnonzero(whole)


def audio_windows(features: Float32, n_frames: int, start: int) -> tuple[Float32, Bools]:
    """The audio windows at all lags of a run of frames, and which of them exist."""
    index = np.arange(start - MAX_LAG, start - MAX_LAG + AUDIO_WINDOWS)
    exists = (index >= 0) & (index <= n_frames - FRAMES)
    rows = np.clip(index, 0, n_frames - FRAMES)[:, None] * MELS_PER_FRAME + np.arange(AUDIO_FRAMES)
    return features[rows], exists


def centre_mouths(crops: Image) -> Image:
    """The middle of crops [n, 128, 128], [n, 96, 96]."""
    edge = (CROP_SIZE - SIZE) // 2
    return np.ascontiguousarray(crops[:, edge : edge + SIZE, edge : edge + SIZE])


def augment_mouths(crops: Image, shape: Float32, rng: np.random.Generator) -> tuple[Image, Float32]:
    """A run as another camera would have taken it: place, size, turn, light, blur, noise, compression.

    Args:
        crops: [n, 128, 128].
        shape: [n, 42, 2], pixels from the crop's centre.
        rng: of the changes.

    Returns:
        [n, 96, 96] and the shape that they show, in units of 8 pixels, from the lips' centre.
    """
    n = len(crops)
    angle, size = rng.normal(0, 0.07), np.exp(rng.normal(0, 0.08))
    squeeze, skew = np.exp(rng.normal(0, 0.05)), rng.normal(0, 0.04)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    c, s = np.cos(angle), np.sin(angle)
    linear = size * np.array([[c, -s], [s, c]]) @ np.array([[mirror * squeeze, skew], [0, 1 / squeeze]])
    shift = rng.normal(0, 4.0, 2) + rng.normal(0, 0.4, (n, 2)) + _drift(n, 1.5, rng)
    camera = _Camera(rng)
    result = np.empty((n, SIZE, SIZE), np.uint8)
    for k in range(n):
        offset = shift[k] + (SIZE / 2 - 0.5) - linear @ np.full(2, CROP_SIZE / 2 - 0.5)
        affine = np.concatenate([linear, offset[:, None]], axis=1)
        warped = cv2.warpAffine(crops[k], affine, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        result[k] = camera(np.asarray(warped, np.uint8))
    points = shape[:, mirror_order()] if mirror < 0 else shape
    return result, relative_shape(points @ linear.T.astype(np.float32))


def relative_shape(shape: Float32) -> Float32:
    """Shape [n, 42, 2] from the lips' centre, in units of 8 pixels."""
    centre = shape[:, :LIP_POINTS].mean(axis=1, keepdims=True)
    result: Float32 = ((shape - centre) / 8).astype(np.float32)
    return result


def _drift(n: int, sd: float, rng: np.random.Generator) -> Float64:
    """A slow wander, as a tracker's, [n, 2]."""
    knots = rng.normal(0, sd, (4, 2))
    position = np.linspace(0, 3, n)
    return np.stack([np.interp(position, np.arange(4), knots[:, k]) for k in range(2)], axis=1)


class _Camera:
    """Light and image quality of one run: the same for all its frames, noise apart."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        levels = np.arange(256) / 255
        gamma, gain, lift = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.15)), rng.normal(0, 0.06)
        self.curve = np.clip(255 * (gain * levels**gamma + lift), 0, 255).astype(np.uint8)
        y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
        self.light = (1 + rng.normal(0, 0.15) * x + rng.normal(0, 0.15) * y).astype(np.float32)
        self.blur = rng.uniform(0.3, 1.6) if rng.random() < 0.35 else 0.0
        self.coarse = int(rng.integers(28, 80)) if rng.random() < 0.3 else 0
        self.sharpen = rng.uniform(0.3, 1.2) if rng.random() < 0.2 else 0.0
        self.noise = rng.uniform(1, 7) if rng.random() < 0.4 else 0.0
        self.quality = int(rng.integers(12, 85)) if rng.random() < 0.4 else 0

    def __call__(self, crop: Image) -> Image:
        out: Image = self.curve[crop]
        if self.coarse:
            small = cv2.resize(out, (self.coarse, self.coarse), interpolation=cv2.INTER_AREA)
            out = np.asarray(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR), np.uint8)
        if self.blur:
            out = np.asarray(cv2.GaussianBlur(out, (0, 0), self.blur), np.uint8)
        bright = out * self.light
        if self.sharpen:
            bright += self.sharpen * (bright - cv2.GaussianBlur(bright, (0, 0), 1.2))
        if self.noise:
            bright += self.rng.standard_normal((SIZE, SIZE), dtype=np.float32) * self.noise
        out = np.clip(bright, 0, 255).astype(np.uint8)
        if self.quality:
            code = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            out = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
        return out


def augment_audio(features: Float32, rng: np.random.Generator) -> Float32:
    """Log-mel features as another throat, room and microphone would give them.

    Args:
        features: [T, 40], natural log of power, not normalised.
    """
    x = features
    bands = np.arange(N_MELS)
    if rng.random() < 0.7:  # throat: the mel axis stretched
        position = np.clip(bands * np.exp(rng.normal(0, 0.06)) + rng.normal(0, 0.4), 0, N_MELS - 1)
        left = np.minimum(position.astype(np.int64), N_MELS - 2)
        share = (position - left).astype(np.float32)
        x = x[:, left] * (1 - share) + x[:, left + 1] * share
    if rng.random() < 0.3:  # room: power dies away
        x = _reverberate(x, rng)
    if rng.random() < 0.6:  # noise of another colour, from far below speech to nearly as loud
        level = np.percentile(x.mean(axis=1), 90) - rng.uniform(1.0, 9.0)
        colour = level + _smooth_curve(rng, 1.2) - rng.uniform(-0.03, 0.06) * (bands - 20)
        wobble = rng.normal(0, 0.5, x.shape) + np.repeat(rng.normal(0, 0.4, (len(x) // 25 + 1, 1)), 25, 0)[: len(x)]
        x = np.logaddexp(x, colour + wobble)
    x = x + _smooth_curve(rng, 0.6) + rng.normal(0, 0.02) * (bands - 20)  # microphone
    if rng.random() < 0.3:  # bands cut off
        low, high = (rng.integers(0, 6), rng.integers(26, N_MELS + 1))
        x[:, :low] = np.minimum(x[:, :low], x[:, low : low + 1] - 6)
        x[:, high:] = np.minimum(x[:, high:], x.min() + 1)
    return x.astype(np.float32)


def _smooth_curve(rng: np.random.Generator, sd: float) -> Float64:
    knots = rng.normal(0, sd, 6)
    return np.interp(np.linspace(0, 5, N_MELS), np.arange(6), knots)


def _reverberate(x: Float32, rng: np.random.Generator) -> Float32:
    from scipy.signal import lfilter

    decay = 10 ** (-6 * 0.01 / rng.uniform(0.15, 0.7))  # power over 10 ms
    power = np.exp(x.astype(np.float64))
    tail: Float64 = lfilter([0.0, (1 - decay)], [1.0, -decay], power, axis=0)
    result: Float32 = np.log(power + rng.uniform(0.05, 0.6) * tail + 1e-9).astype(np.float32)
    return result
