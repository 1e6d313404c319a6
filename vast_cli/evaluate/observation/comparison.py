"""Output against truth, picture by picture, beside what would have been the best and the worst."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float64, Image
from vast_cli.core.streams import prefetch
from vast_cli.evaluate.measures.ssim import ssim_map, ssim_rgb7
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.crop import SIDE, CropBox, luma
from vast_cli.evaluate.observation.frames import mouth_box
from vast_cli.evaluate.observation.tracking import TrackedVideo

AHEAD = 25  # frames: the mouth of 1 s later
FEATHER = 0.25  # of lip width
BORDER = 5  # pixels that the window of SSIM needs on each side
KINDS = ("ssim", "ssim_face", "ssim_mouth")
RGB7_EVERY = 5


def compare(
    made: TrackedVideo, truth: TrackedVideo, box: CropBox, crops: Mapping[str, Iterable[Image]]
) -> dict[str, dict[str, float]]:
    """SSIM of the output and of the controls with the truth, means over the frames in which both show a face.

    Args:
        made: the output.
        truth: of the same size and length (one frame more or less is left out).
        box: the truth's crop box.
        crops: pictures of `made`, `truth` and perhaps `reencoded`; read to their ends.

    Returns:
        measure -> control or `made` -> value.
    """
    points = box.points(truth.points)
    use = truth.present[: made.n_frames] & made.present[: truth.n_frames]
    sums: dict[str, Float64] = {}
    counts: dict[str, int] = {}
    colour: list[float] = []
    for k, pictures in _pictures(truth, box, points, crops):
        if not use[k]:
            continue
        goal = luma(pictures["truth"])
        hull, mouth = _hull(points[k]), mouth_box(points[k])
        for name, picture in pictures.items():
            if name == "truth":
                continue
            values = ssim_map(luma(picture), goal)
            inner = values[BORDER:-BORDER, BORDER:-BORDER].mean()
            sums[name] = sums.get(name, np.zeros(3)) + np.array([inner, values[hull].mean(), values[mouth].mean()])
            counts[name] = counts.get(name, 0) + 1
        if k % RGB7_EVERY == 0:
            colour.append(ssim_rgb7(pictures["made"], pictures["truth"]))
    found = {kind: {name: float(sums[name][i] / counts[name]) for name in sums} for i, kind in enumerate(KINDS)}
    return found | {"ssim_rgb7": {"made": float(np.mean(colour))} if colour else {}}


def _pictures(
    truth: TrackedVideo, box: CropBox, points: Float64, crops: Mapping[str, Iterable[Image]]
) -> Iterator[tuple[int, dict[str, Image]]]:
    """For every frame the crops to compare, by name; of the videos three seconds are held."""
    still = box.cut(truth.mean_picture)
    first: Image | None = None
    held: deque[tuple[int, Image]] = deque(maxlen=2 * AHEAD + 1)
    waiting: deque[tuple[int, dict[str, Image]]] = deque()
    seen = truth.present

    def finish(k: int, pictures: dict[str, Image]) -> tuple[int, dict[str, Image]]:
        by = dict(held)
        other = k + AHEAD if k + AHEAD in by else k - AHEAD
        if other in by and seen[k] and seen[other]:
            pictures["mouth_swap"] = swap_mouth(pictures["truth"], by[other], points[k], points[other])
        return k, pictures

    for k, shown in enumerate(_together(crops)):
        first = shown["truth"] if first is None else first
        held.append((k, shown["truth"]))
        pictures = {**shown, "static_mean": still, "static_first": first}
        if k >= 2:
            pictures["delay_2"] = held[-3][1]
        waiting.append((k, pictures))
        if len(waiting) > AHEAD:
            yield finish(*waiting.popleft())
    while waiting:
        yield finish(*waiting.popleft())


def _together(crops: Mapping[str, Iterable[Image]]) -> Iterator[dict[str, Image]]:
    """One picture of each at a time; a frame more at the end of one goes by unseen."""
    streams = {name: prefetch(pictures, depth=8) for name, pictures in crops.items()}  # a thread each
    for frames in zip(*streams.values(), strict=False):
        yield dict(zip(streams, frames, strict=True))
    for stream in streams.values():
        for _ in stream:
            pass


def _hull(points: Float64) -> NDArray[np.bool_]:
    """[256, 256], inside of the face's outline."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 255)
    if not mask.any():
        mask[:] = 255
    return mask > 0


def swap_mouth(picture: Image, other: Image, points: Float64, other_points: Float64) -> Image:
    """A crop with the mouth of another frame of the same person, laid upon it by the points that do not move.

    Args:
        picture: [256, 256, 3].
        other: likewise.
        points: [68, 2], its landmarks in pixels of the crop.
        other_points: those of `other`.
    """
    matrix, offset = landmarks.similarity(other_points[landmarks.STILL], points[landmarks.STILL])
    affine = np.concatenate([matrix, offset[:, None]], axis=1)
    laid = cv2.warpAffine(other, affine, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lips = points[landmarks.MOUTH]
    width = float(np.ptp(lips[:, 0]))
    mask = np.zeros((SIDE, SIDE), np.float32)
    centre = (lips.min(0) + lips.max(0)) / 2
    cv2.ellipse(
        mask, np.rint(centre).astype(int).tolist(), [round(0.75 * width), round(0.6 * width)], 0, 0, 360, 1.0, -1
    )
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(FEATHER * width / 2, 0.5)), np.float32)[..., None]
    return np.clip(np.rint(mask * laid + (1 - mask) * picture), 0, 255).astype(np.uint8)
