"""The second pass over one video: numbers of every picture, from crops that one box cuts for the whole clip.

Everything is measured as the pictures go by; of the pictures nothing is kept.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli import media, sync
from vast_cli.core.arrays import Float64, Image
from vast_cli.core.progress import Progress, silent
from vast_cli.evaluate.measures.bands import band80
from vast_cli.evaluate.measures.cpbd import cpbd
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.crop import SIDE, CropBox, luma
from vast_cli.evaluate.observation.mouths import MouthEmbedder
from vast_cli.evaluate.observation.stabiliser import Stabiliser
from vast_cli.evaluate.observation.tracking import TrackedVideo

EVERY = 5  # frames from one thinned sample to the next: neighbours are near copies
DESCRIBE_EVERY = 25  # one a second: the network takes 60 ms
MOUTH_HALF = 0.9  # of lip width: the mouth square of the bands
BOX_HALF = (0.8, 0.64)  # of lip width: the mouth box
NOISE_SD = 5.0
GAIN = 0.02  # of a light that flickers from frame to frame
BLURS = {"blur_1": 1.0, "blur_2": 2.0}
PARTS = frozenset({"sharpness", "change", "flicker", "mouth", "mouth_reversed", "descriptors", "samples"})


@dataclass(frozen=True)
class FrameMeasurements:
    """Per frame numbers of one video; frames without a face hold NaN."""

    cpbd: dict[str, Float64]  # name of a control or `made` -> every fifth frame; NaN where no edges
    bands: dict[str, Float64]  # likewise -> [n / 5, 80]
    sharpness: Float64  # [n], energy of the finest Laplacian band in the mouth box
    change: Float64  # [n], mean absolute difference of the crop's luma to the frame before
    flicker: Float64  # [n], mean absolute second difference of luma in the stabilised face
    faulty: dict[
        str, Float64
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
class ObserverNetworks:
    """Networks that look at single videos; absent ones are None."""

    lagsync: sync.LagSync | None
    descriptor: Descriptor | None


class FrameObserver:
    """Looks at one video from end to end; whoever iterates gets the crops as they go by, `portrait` what was measured.

    Args:
        sight: the first pass over the video.
        box: where to cut; the truth's box where there is a truth of the same size.
        judges: networks.
        squares: [n, 68, 2], points in pixels that say where the mouth square lies; the video's own if not given.
        controls: measure blurred, noisy and flickering copies too (of a truth).
        parts: names of `PARTS` to measure; the others stay NaN or empty.
        seed: of the noise.
        progress: told of every frame.
    """

    def __init__(
        self,
        sight: TrackedVideo,
        box: CropBox,
        judges: ObserverNetworks,
        *,
        squares: Float64 | None = None,
        controls: bool = False,
        parts: Collection[str] = PARTS,
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        self._parts = frozenset(parts)
        self._progress = progress
        self._sight, self._box = sight, box
        self._points = box.points(sight.points)
        self._squares = self._points if squares is None else box.points(squares)
        self._present = sight.present
        self._controls = controls
        self._noise = np.random.default_rng(seed)
        self._descriptor = judges.descriptor if "descriptors" in self._parts else None
        lagsync = judges.lagsync if "mouth" in self._parts else None
        self._mouths = MouthEmbedder(lagsync, backwards="mouth_reversed" in self._parts)
        self._stabiliser = Stabiliser(self._points, self._present)
        self._flickering = Stabiliser(self._points, self._present) if controls else None
        self._edges: dict[str, list[float]] = {}
        self._bands: dict[str, list[Float64]] = {}
        self._sharpness, self._change, self._flicker = (np.full(sight.n_frames, np.nan) for _ in range(3))
        self._gain: list[float] = []
        self._blurred: list[tuple[float, float]] = []
        self._descriptors: list[NDArray[np.float32]] = []
        self._before: Image | None = None

    def __iter__(self) -> Iterator[Image]:
        with media.VideoReader(self._sight.path) as reader:
            for k, frame in enumerate(islice(reader, self._sight.n_frames)):
                crop = self._box.cut(frame)
                self._step(k, frame, luma(crop))
                self._progress("measure", k + 1, self._sight.n_frames)
                yield crop

    def portrait(self) -> FrameMeasurements:
        """What was measured of the frames that went by."""
        embedded, backwards, valid = self._mouths.finish()
        faulty = {"blur_1": np.array(self._blurred).reshape(-1, 2).T, "gain": np.array(self._gain)}
        return FrameMeasurements(
            cpbd={name: np.array(values) for name, values in self._edges.items()},
            bands={name: np.array(values) for name, values in self._bands.items()},
            sharpness=self._sharpness,
            change=self._change,
            flicker=self._flicker,
            faulty=faulty if self._controls else {},
            descriptors=np.array(self._descriptors, np.float32).reshape(-1, 128),
            mouth=embedded,
            mouth_reversed=backwards,
            mouth_valid=valid,
        )

    def _step(self, k: int, frame: Image, grey: Image) -> None:
        if self._before is not None and "change" in self._parts:
            self._change[k] = cv2.absdiff(grey, self._before).mean()
        self._before = grey
        if "flicker" in self._parts:
            self._flicker[k] = self._stabiliser.step(k, grey)
        if self._flickering is not None:
            lit = np.clip(np.rint(grey * (1 + (-1) ** k * GAIN)), 0, 255).astype(np.uint8)
            self._gain.append(self._flickering.step(k, lit))
        present = bool(self._present[k])
        self._mouths.step(frame, self._sight.mesh[k] if present else None)
        if not present:
            return
        if "sharpness" in self._parts:
            self._sharpness[k] = _finest(grey, self._points[k])
        if self._descriptor is not None and k % DESCRIBE_EVERY == 0:
            self._descriptors.append(self._descriptor.describe(frame, self._sight.mesh[k]))
        if k % EVERY == 0 and "samples" in self._parts:
            self._sample(k, grey)

    def _sample(self, k: int, grey: Image) -> None:
        """What is measured of every fifth frame."""
        if self._controls:
            soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), BLURS["blur_1"]), np.uint8)
            self._blurred.append((float(self._sharpness[k]), _finest(soft, self._points[k])))
        if k >= len(self._squares) or not np.isfinite(self._squares[k]).all():
            return
        square = mouth_square(self._squares[k])
        for name, picture in _variants(grey, self._noise, controls=self._controls):
            value = cpbd(picture)
            self._edges.setdefault(name, []).append(np.nan if value is None else value)
            self._bands.setdefault(name, []).append(band80(picture, square))


def watch(watcher: FrameObserver) -> FrameMeasurements:
    """Look at a whole video for the sake of its numbers only."""
    for _ in watcher:
        pass
    return watcher.portrait()


def mouth_square(points: Float64) -> tuple[float, float, float]:
    """Centre x, y and half side of the square around the lips of one face [68, 2]."""
    lips = points[landmarks.MOUTH]
    low, high = lips.min(0), lips.max(0)
    x, y = (low + high) / 2
    return float(x), float(y), MOUTH_HALF * float(high[0] - low[0])


def mouth_box(points: Float64) -> tuple[slice, slice]:
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


def _finest(grey: Image, points: Float64) -> float:
    """Energy of the finest band of the Laplacian pyramid in the mouth box."""
    picture = grey.astype(np.float32)
    band = picture - cv2.pyrUp(cv2.pyrDown(picture), dstsize=(SIDE, SIDE))
    return float(np.square(band[mouth_box(points)]).mean())
