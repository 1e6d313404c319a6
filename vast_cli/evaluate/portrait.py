"""The second pass over one video: numbers of every picture, from crops that one box cuts for the whole clip.

Everything is measured as the pictures go by; of the pictures nothing is kept.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli import media, sync
from vast_cli.evaluate import points as landmarks
from vast_cli.evaluate.crop import SIDE, CropBox, luma
from vast_cli.evaluate.measures.bands import band80
from vast_cli.evaluate.measures.cpbd import cpbd
from vast_cli.evaluate.sight import Sight
from vast_cli.streams import prefetch

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

EVERY = 5  # frames from one thinned sample to the next: neighbours are near copies
DESCRIBE_EVERY = 25  # one a second: the network takes 60 ms
CHUNK = 100  # frames whose mouths are embedded at once
MOUTH_HALF = 0.9  # of lip width: the mouth square of the bands
BOX_HALF = (0.8, 0.64)  # of lip width: the mouth box
NOISE_SD = 5.0
GAIN = 0.02  # of a light that flickers from frame to frame
BLURS = {"blur_1": 1.0, "blur_2": 2.0}


@dataclass(frozen=True)
class Portrait:
    """Per frame numbers of one video; frames without a face hold NaN."""

    cpbd: dict[str, Floats]  # name of a control or `made` -> every fifth frame; NaN where no edges
    bands: dict[str, Floats]  # likewise -> [n / 5, 80]
    sharpness: Floats  # [n], energy of the finest Laplacian band in the mouth box
    change: Floats  # [n], mean absolute difference of the crop's luma to the frame before
    flicker: Floats  # [n], mean absolute second difference of luma in the stabilised face
    faulty: dict[
        str, Floats
    ]  # of a truth: `blur_1` -> sharpness of its sharp and blurred mouths [2, m], `gain` -> flicker
    descriptors: NDArray[np.float32]  # [m, 128]
    mouth: NDArray[np.float32]  # [n - 4, d], LagSync's embedding
    mouth_reversed: NDArray[np.float32]  # the same of each window backwards in time
    mouth_valid: NDArray[np.bool_]  # [n - 4]


class Descriptor(Protocol):
    """A face as 128 numbers."""

    def describe(self, frame: Image, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the face with landmarks [478, 3] in a picture [H, W, 3]: [128]."""
        ...


@dataclass(frozen=True)
class Judges:
    """Networks that look at single videos; absent ones are None."""

    lagsync: sync.LagSync | None
    descriptor: Descriptor | None


def watch(
    sight: Sight, box: CropBox, judges: Judges, *, squares: Floats | None = None, controls: bool, seed: int
) -> Portrait:
    """Measure the pictures of one video.

    Args:
        sight: the first pass over it.
        box: where to cut; the truth's box where there is a truth of the same size.
        judges: networks.
        squares: [n, 68, 2], points in pixels that say where the mouth square lies; the video's own if not given.
        controls: measure blurred and noisy copies too (of a truth).
        seed: of the noise.
    """
    points = sight.points
    squares = points if squares is None else squares
    present = sight.present
    n = sight.n_frames
    noise = np.random.default_rng(seed)
    edges: dict[str, list[float]] = {}
    bands: dict[str, list[Floats]] = {}
    sharpness, change, flicker = (np.full(n, np.nan) for _ in range(3))
    descriptors: list[NDArray[np.float32]] = []
    mouths = _Mouths(judges.lagsync)
    stabiliser = _Stabiliser(box.points(points), present)
    flickering = _Stabiliser(box.points(points), present) if controls else None
    gain: list[float] = []
    blurred: list[tuple[float, float]] = []
    before: Image | None = None
    with media.VideoReader(sight.path) as reader:
        for k, frame in enumerate(prefetch(reader, depth=8)):
            if k >= n:
                break
            crop = box.cut(frame)
            grey = luma(crop)
            if before is not None:
                change[k] = cv2.absdiff(grey, before).mean()
            before = grey
            flicker[k] = stabiliser.step(k, grey)
            if flickering is not None:
                lit = np.clip(np.rint(grey * (1 + (-1) ** k * GAIN)), 0, 255).astype(np.uint8)
                gain.append(flickering.step(k, lit))
            mouths.step(frame, sight.mesh[k] if present[k] else None)
            if not present[k]:
                continue
            sharpness[k] = _finest(grey, box.points(points[k]))
            if controls and k % EVERY == 0:
                soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), BLURS["blur_1"]), np.uint8)
                blurred.append((float(sharpness[k]), _finest(soft, box.points(points[k]))))
            if k % DESCRIBE_EVERY == 0 and judges.descriptor is not None:
                descriptors.append(judges.descriptor.describe(frame, sight.mesh[k]))
            if k % EVERY == 0 and k < len(squares) and np.isfinite(squares[k]).all():
                square = mouth_square(box.points(squares[k]))
                for name, picture in _variants(grey, noise, controls=controls):
                    value = cpbd(picture)
                    edges.setdefault(name, []).append(np.nan if value is None else value)
                    bands.setdefault(name, []).append(band80(picture, square))
    embedded, backwards, valid = mouths.finish()
    return Portrait(
        cpbd={name: np.array(values) for name, values in edges.items()},
        bands={name: np.array(values) for name, values in bands.items()},
        sharpness=sharpness,
        change=change,
        flicker=flicker,
        faulty={"blur_1": np.array(blurred).reshape(-1, 2).T, "gain": np.array(gain)} if controls else {},
        descriptors=np.array(descriptors, np.float32).reshape(-1, 128),
        mouth=embedded,
        mouth_reversed=backwards,
        mouth_valid=valid,
    )


def mouth_square(points: Floats) -> tuple[float, float, float]:
    """Centre x, y and half side of the square around the lips of one face [68, 2]."""
    lips = points[landmarks.MOUTH]
    low, high = lips.min(0), lips.max(0)
    x, y = (low + high) / 2
    return float(x), float(y), MOUTH_HALF * float(high[0] - low[0])


def mouth_box(points: Floats) -> tuple[slice, slice]:
    """Rows and columns of the box around the lips of one face [68, 2] in crop pixels; at least one pixel."""
    lips = points[landmarks.MOUTH]
    low, high = lips.min(0), lips.max(0)
    (x, y), width = (low + high) / 2, float(high[0] - low[0])

    def span(centre: float, half: float) -> slice:
        start = int(np.clip(round(centre - half), 0, SIDE - 1))
        return slice(start, int(np.clip(round(centre + half), start + 1, SIDE)))

    return span(y, BOX_HALF[1] * width), span(x, BOX_HALF[0] * width)


def _variants(grey: Image, noise: np.random.Generator, *, controls: bool) -> Iterator[tuple[str, Image]]:
    """The picture and, of a truth, what cheats and faults would make of it."""
    yield "made", grey
    if not controls:
        return
    for name, sigma in BLURS.items():
        blurred = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.uint8)
        yield name, blurred
    noisy = blurred + noise.normal(0, NOISE_SD, blurred.shape)
    yield "blur_2_noise_5", np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _finest(grey: Image, points: Floats) -> float:
    """Energy of the finest band of the Laplacian pyramid in the mouth box."""
    picture = grey.astype(np.float32)
    band = picture - cv2.pyrUp(cv2.pyrDown(picture), dstsize=(SIDE, SIDE))
    return float(np.square(band[mouth_box(points)]).mean())


class _Mouths:
    """LagSync's embeddings of a stream of frames."""

    def __init__(self, network: sync.LagSync | None) -> None:
        self._network = network
        self._crops: list[Image] = []
        self._seen: list[bool] = []
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def step(self, frame: Image, mesh: NDArray[np.float32] | None) -> None:
        self._seen.append(mesh is not None)
        if self._network is None:
            return
        blank = np.zeros((96, 96), np.uint8)
        self._crops.append(blank if mesh is None else sync.mouth_crop(frame, mesh))
        if len(self._crops) == CHUNK:
            self._embed(keep=4)

    def _embed(self, *, keep: int) -> None:
        if self._network is None or len(self._crops) < 5:
            return
        crops = np.stack(self._crops)
        backwards = self._network.embed_mouth(np.ascontiguousarray(crops[::-1]))[::-1]
        self._parts.append((self._network.embed_mouth(crops), backwards))
        self._crops = self._crops[len(self._crops) - keep :]

    def finish(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        if len(self._crops) > 4:
            self._embed(keep=0)
        seen = np.array(self._seen, bool)
        n = max(0, len(seen) - 4)
        valid = np.all([seen[i : i + n] for i in range(5)], axis=0) if n else np.zeros(0, bool)
        if not self._parts:
            return np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32), valid
        forwards, backwards = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        return forwards, backwards, valid


class _Stabiliser:
    """Second difference in time of the face's luma, the head's motion taken out."""

    def __init__(self, points: Floats, present: NDArray[np.bool_]) -> None:
        self._points, self._present = points, present
        self._last: deque[NDArray[np.float32] | None] = deque(maxlen=3)
        self._mask: NDArray[np.bool_] | None = None
        self._home: Floats | None = None

    def step(self, k: int, grey: Image) -> float:
        """Of the frames k - 2 .. k; NaN if one of them shows no face."""
        if not self._present[k]:
            self._last.append(None)
            return np.nan
        points = self._points[k]
        if self._home is None:
            self._home = points
            mask = np.zeros((SIDE, SIDE), np.uint8)
            cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 255)
            self._mask = mask > 0
        matrix, offset = landmarks.similarity(points[landmarks.STILL], self._home[landmarks.STILL])
        shift = offset - 0.5 + matrix @ np.full(2, 0.5)  # OpenCV counts from pixel centres
        affine = np.concatenate([matrix, shift[:, None]], axis=1)
        laid = cv2.warpAffine(grey.astype(np.float32), affine, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        self._last.append(np.asarray(laid, np.float32))
        if len(self._last) < 3 or any(picture is None for picture in self._last):
            return np.nan
        a, b, c = self._last
        assert a is not None and b is not None and c is not None and self._mask is not None
        return float(np.abs(a - 2 * b + c)[self._mask].mean())
