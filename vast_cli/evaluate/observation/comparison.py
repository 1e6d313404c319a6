"""SSIM of the output with the truth, frame by frame, beside controls made from the truth."""

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

SWAP_DISTANCE = 25  # frames: the mouth of 1 s later
FEATHER = 0.25  # of lip width
BORDER = 5  # pixels that the window of SSIM needs on each side
KINDS = ("ssim", "ssim_face", "ssim_mouth")
RGB7_EVERY = 5  # frames


def compare(
    output: TrackedVideo, truth: TrackedVideo, box: CropBox, crops: Mapping[str, Iterable[Image]]
) -> dict[str, dict[str, float]]:
    """SSIM of the output and of the controls with the truth, means over the frames in which both show a face.

    Args:
        output: the video to evaluate.
        truth: of the same size and length (a frame more or less is left out).
        box: the truth's crop box.
        crops: crops of `made`, `truth` and maybe `reencoded`; each is read to its end.

    Returns:
        measure -> control or `made` -> value.
    """
    points = box.points(truth.points)
    compared = truth.present[: output.n_frames] & output.present[: truth.n_frames]
    sums: dict[str, Float64] = {}
    counts: dict[str, int] = {}
    rgb7: list[float] = []
    for k, images in _frames_with_controls(truth, box, points, crops):
        if not compared[k]:
            continue
        truth_luma = luma(images["truth"])
        face, mouth = _face_mask(points[k]), mouth_box(points[k])
        for name, image in images.items():
            if name == "truth":
                continue
            values = ssim_map(luma(image), truth_luma)
            inner = values[BORDER:-BORDER, BORDER:-BORDER].mean()
            sums[name] = sums.get(name, np.zeros(3)) + np.array([inner, values[face].mean(), values[mouth].mean()])
            counts[name] = counts.get(name, 0) + 1
        if k % RGB7_EVERY == 0:
            rgb7.append(ssim_rgb7(images["made"], images["truth"]))
    means = {kind: {name: float(sums[name][i] / counts[name]) for name in sums} for i, kind in enumerate(KINDS)}
    return means | {"ssim_rgb7": {"made": float(np.mean(rgb7))} if rgb7 else {}}


def _frames_with_controls(
    truth: TrackedVideo, box: CropBox, points: Float64, crops: Mapping[str, Iterable[Image]]
) -> Iterator[tuple[int, dict[str, Image]]]:
    """For every frame the crops to compare, by name; three seconds of crops are held in memory."""
    mean = box.cut(truth.mean_frame)
    first: Image | None = None
    recent: deque[tuple[int, Image]] = deque(maxlen=2 * SWAP_DISTANCE + 1)
    waiting: deque[tuple[int, dict[str, Image]]] = deque()
    present = truth.present

    def with_mouth_swap(k: int, images: dict[str, Image]) -> tuple[int, dict[str, Image]]:
        by_frame = dict(recent)
        other = k + SWAP_DISTANCE if k + SWAP_DISTANCE in by_frame else k - SWAP_DISTANCE
        if other in by_frame and present[k] and present[other]:
            images["mouth_swap"] = swap_mouth(images["truth"], by_frame[other], points[k], points[other])
        return k, images

    for k, current in enumerate(_in_step(crops)):
        first = current["truth"] if first is None else first
        recent.append((k, current["truth"]))
        images = {**current, "static_mean": mean, "static_first": first}
        if k >= 2:
            images["delay_2"] = recent[-3][1]
        waiting.append((k, images))
        if len(waiting) > SWAP_DISTANCE:
            yield with_mouth_swap(*waiting.popleft())
    while waiting:
        yield with_mouth_swap(*waiting.popleft())


def _in_step(crops: Mapping[str, Iterable[Image]]) -> Iterator[dict[str, Image]]:
    """One crop of each video at a time; a frame more at the end of one is read and dropped."""
    streams = {name: prefetch(images, depth=8) for name, images in crops.items()}  # a thread each
    for frames in zip(*streams.values(), strict=False):
        yield dict(zip(streams, frames, strict=True))
    for stream in streams.values():
        for _ in stream:
            pass


def _face_mask(points: Float64) -> NDArray[np.bool_]:
    """[256, 256], the inside of the face's outline."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 255)
    if not mask.any():
        mask[:] = 255
    return mask > 0


def swap_mouth(image: Image, other: Image, points: Float64, other_points: Float64) -> Image:
    """A crop with the mouth of another frame of the same person, aligned by the points that do not move.

    Args:
        image: [256, 256, 3].
        other: likewise.
        points: [68, 2], its landmarks in pixels of the crop.
        other_points: those of `other`.
    """
    matrix, offset = landmarks.similarity(other_points[landmarks.STILL], points[landmarks.STILL])
    affine = np.concatenate([matrix, offset[:, None]], axis=1)
    warped = cv2.warpAffine(other, affine, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lips = points[landmarks.MOUTH]
    width = float(np.ptp(lips[:, 0]))
    mask = np.zeros((SIDE, SIDE), np.float32)
    centre = (lips.min(0) + lips.max(0)) / 2
    cv2.ellipse(
        mask, np.rint(centre).astype(int).tolist(), [round(0.75 * width), round(0.6 * width)], 0, 0, 360, 1.0, -1
    )
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(FEATHER * width / 2, 0.5)), np.float32)[..., None]
    return np.clip(np.rint(mask * warped + (1 - mask) * image), 0, 255).astype(np.uint8)
