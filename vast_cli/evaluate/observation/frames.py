"""Second pass over a video: numbers of every frame, from crops that one box cuts for the whole clip.

Everything is measured as the frames go by; no frame is kept.
"""

from collections.abc import Iterator
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

SAMPLE_EVERY = 5  # frames: neighbours are near copies
DESCRIBE_EVERY = 25  # frames, one second: the network takes 60 ms
MOUTH_HALF = 0.9  # of lip width: half side of the mouth square of the bands
BOX_HALF = (0.8, 0.64)  # of lip width: half sides of the mouth box
NOISE_SD = 5.0
GAIN = 0.02  # of a light that flickers from frame to frame
BLURS = {"blur_1": 1.0, "blur_2": 2.0}
PARTS = frozenset({"sharpness", "change", "flicker", "mouth", "mouth_reversed", "descriptors", "samples"})


@dataclass(frozen=True)
class FrameMeasurements:
    """Numbers of every frame of one video; NaN where a frame shows no face.

    Attributes:
        cpbd: `made` or name of a control -> CPBD of every fifth frame; NaN without edges.
        bands: likewise -> [n / 5, 80].
        sharpness: [n], energy of the finest Laplacian band in the mouth box.
        change: [n], mean absolute difference of the crop's luma to the frame before.
        flicker: [n], mean absolute second difference of luma in the stabilised face.
        faulty: of copies with a fault: `blur_1` -> sharpness of the sharp and blurred mouths [2, m], `gain` -> flicker;
            empty without controls.
        descriptors: [m, 128], face descriptors, one a second.
        mouth: [n - 4, d], LagSync's embeddings.
        mouth_reversed: likewise, of each window backwards in time.
        mouth_valid: [n - 4], whether all five frames of a window show a face.
    """

    cpbd: dict[str, Float64]
    bands: dict[str, Float64]
    sharpness: Float64
    change: Float64
    flicker: Float64
    faulty: dict[str, Float64]
    descriptors: NDArray[np.float32]
    mouth: NDArray[np.float32]
    mouth_reversed: NDArray[np.float32]
    mouth_valid: NDArray[np.bool_]


class FaceDescriptor(Protocol):
    """A network that describes a face by 128 numbers."""

    def describe(self, frame: Image, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the face with landmarks [478, 3] in a frame [H, W, 3]: [128]."""
        ...


@dataclass(frozen=True)
class ObserverNetworks:
    """Networks that measure the frames of a video; absent ones are None."""

    lagsync: sync.LagSync | None
    descriptor: FaceDescriptor | None


@dataclass(frozen=True)
class FrameRequest:
    """What to measure of a video's frames.

    Args:
        video: as tracked.
        box: the crop; that of the truth where there is a truth of the same size.
        mouth_points: [n, 68, 2], pixels: where the mouth square lies; the video's own points if None.
        controls: measure blurred, noisy and flickering copies too (of a truth).
        parts: names of `PARTS` to measure; the others stay NaN or empty.
        seed: of the noise.
    """

    video: TrackedVideo
    box: CropBox
    mouth_points: Float64 | None = None
    controls: bool = False
    parts: frozenset[str] = PARTS
    seed: int = 0


class FrameObserver:
    """Iterates over the crops of a video and measures each frame as it goes by; `measurements` has the results.

    Args:
        request: what to measure.
        networks: networks to measure with.
        progress: called after every frame.
    """

    def __init__(self, request: FrameRequest, networks: ObserverNetworks, *, progress: Progress = silent) -> None:
        video, box = request.video, request.box
        self._video, self._box, self._parts = video, box, request.parts
        self._controls = request.controls
        self._progress = progress
        self._points = box.points(video.points)
        self._mouth_points = self._points if request.mouth_points is None else box.points(request.mouth_points)
        self._noise = np.random.default_rng(request.seed)
        self._descriptor = networks.descriptor if "descriptors" in self._parts else None
        lagsync = networks.lagsync if "mouth" in self._parts else None
        self._mouths = MouthEmbedder(lagsync, backwards="mouth_reversed" in self._parts)
        self._stabiliser = Stabiliser(self._points, video.present)
        self._gain_stabiliser = Stabiliser(self._points, video.present) if request.controls else None
        self._cpbd: dict[str, list[float]] = {}
        self._bands: dict[str, list[Float64]] = {}
        self._sharpness, self._change, self._flicker = (np.full(video.n_frames, np.nan) for _ in range(3))
        self._gain_flicker: list[float] = []
        self._blurred_sharpness: list[tuple[float, float]] = []
        self._descriptors: list[NDArray[np.float32]] = []
        self._previous: Image | None = None

    def __iter__(self) -> Iterator[Image]:
        with media.VideoReader(self._video.path) as reader:
            for k, frame in enumerate(islice(reader, self._video.n_frames)):
                crop = self._box.cut(frame)
                self._measure(k, frame, luma(crop))
                self._progress("measure", k + 1, self._video.n_frames)
                yield crop

    def measurements(self) -> FrameMeasurements:
        """The numbers of the frames that went by."""
        mouth, mouth_reversed, mouth_valid = self._mouths.finish()
        faulty = {"blur_1": np.array(self._blurred_sharpness).reshape(-1, 2).T, "gain": np.array(self._gain_flicker)}
        return FrameMeasurements(
            cpbd={name: np.array(values) for name, values in self._cpbd.items()},
            bands={name: np.array(values) for name, values in self._bands.items()},
            sharpness=self._sharpness,
            change=self._change,
            flicker=self._flicker,
            faulty=faulty if self._controls else {},
            descriptors=np.array(self._descriptors, np.float32).reshape(-1, 128),
            mouth=mouth,
            mouth_reversed=mouth_reversed,
            mouth_valid=mouth_valid,
        )

    def _measure(self, k: int, frame: Image, grey: Image) -> None:
        self._measure_time(k, grey)
        present = bool(self._video.present[k])
        self._mouths.step(frame, self._video.mesh[k] if present else None)
        if not present:
            return
        if "sharpness" in self._parts:
            self._sharpness[k] = _finest_band(grey, self._points[k])
        if self._descriptor is not None and k % DESCRIBE_EVERY == 0:
            self._descriptors.append(self._descriptor.describe(frame, self._video.mesh[k]))
        if k % SAMPLE_EVERY == 0 and "samples" in self._parts:
            self._measure_sample(k, grey)

    def _measure_time(self, k: int, grey: Image) -> None:
        """Change and flicker, with or without a face."""
        if self._previous is not None and "change" in self._parts:
            self._change[k] = cv2.absdiff(grey, self._previous).mean()
        self._previous = grey
        if "flicker" in self._parts:
            self._flicker[k] = self._stabiliser.step(k, grey)
        if self._gain_stabiliser is not None:
            flickering = np.clip(np.rint(grey * (1 + (-1) ** k * GAIN)), 0, 255).astype(np.uint8)
            self._gain_flicker.append(self._gain_stabiliser.step(k, flickering))

    def _measure_sample(self, k: int, grey: Image) -> None:
        """CPBD and bands, of every fifth frame and its faulty copies."""
        if self._controls:
            blurred = np.asarray(cv2.GaussianBlur(grey, (0, 0), BLURS["blur_1"]), np.uint8)
            self._blurred_sharpness.append((float(self._sharpness[k]), _finest_band(blurred, self._points[k])))
        if k >= len(self._mouth_points) or not np.isfinite(self._mouth_points[k]).all():
            return
        square = mouth_square(self._mouth_points[k])
        for name, image in _variants(grey, self._noise, controls=self._controls):
            value = cpbd(image)
            self._cpbd.setdefault(name, []).append(np.nan if value is None else value)
            self._bands.setdefault(name, []).append(band80(image, square))


def observe_frames(observer: FrameObserver) -> FrameMeasurements:
    """Measure a whole video whose crops nobody else needs."""
    for _ in observer:
        pass
    return observer.measurements()


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
    """The frame and, with controls, copies with blur and noise."""
    yield "made", grey
    if not controls:
        return
    for name, sigma in BLURS.items():
        blurred = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.uint8)
        yield name, blurred
    noisy = blurred + noise.normal(0, NOISE_SD, blurred.shape)
    yield "blur_2_noise_5", np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _finest_band(grey: Image, points: Float64) -> float:
    """Energy of the finest band of the Laplacian pyramid in the mouth box."""
    image = grey.astype(np.float32)
    band = image - cv2.pyrUp(cv2.pyrDown(image), dstsize=(SIDE, SIDE))
    return float(np.square(band[mouth_box(points)]).mean())
