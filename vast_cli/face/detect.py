"""Find faces in an image: MediaPipe's short-range detector at 128 px."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vast_cli.core.arrays import Float64, Image
from vast_cli.face.networks import Network
from vast_cli.store import assets

SIZE = 128  # pixels, input of the network
MIN_SCORE = 0.5
SAME_FACE_IOU = 0.3
ROI_MARGIN = 1.5  # side of the region over the side of the face box
TILE = 0.6  # side of a tile over that of the image
MIN_TILED = 480  # pixels; tiles of smaller images show nothing new


@dataclass(frozen=True)
class Region:
    """A rotated square around a face: pixels, radians (x axis towards y)."""

    x: float  # centre
    y: float
    size: float  # side
    angle: float


@dataclass(frozen=True)
class Detection:
    """A detected face: its box and where to look for its landmarks."""

    x: float  # centre of the face box, pixels
    y: float
    width: float
    height: float
    score: float
    region: Region


def _anchors() -> Float64:
    """[896, 2], centres in 0..1: a 16 x 16 grid twice, then an 8 x 8 grid six times."""
    rows = []
    for n, times in ((16, 2), (8, 6)):
        centre = (np.arange(n) + 0.5) / n
        y, x = np.meshgrid(centre, centre, indexing="ij")
        rows.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), times, axis=0))
    return np.concatenate(rows)


class FaceDetector:
    """Finds the faces in an image, at any position."""

    def __init__(self, path: Path | None = None) -> None:
        path = assets.find("face_detection_short_range") if path is None else path
        self._network = Network(path, ["regressors", "classificators"])
        self._anchors = _anchors()

    def detect(self, frame: Image) -> list[Detection]:
        """Find the faces in an upright RGB image [H, W, 3], largest first; small ones are searched in tiles."""
        height, width = frame.shape[:2]
        faces = self._detect(frame, 0, 0)
        if not faces and min(height, width) >= MIN_TILED:
            h, w = round(TILE * height), round(TILE * width)
            corners = [
                (0, 0),
                (0, width - w),
                (height - h, 0),
                (height - h, width - w),
                ((height - h) // 2, (width - w) // 2),
            ]
            tiles = [d for y, x in corners for d in self._detect(frame[y : y + h, x : x + w], x, y)]
            faces = _merge(tiles)
        return sorted(faces, key=lambda d: -d.width * d.height)

    def _detect(self, frame: Image, left: int, top: int) -> list[Detection]:
        height, width = frame.shape[:2]
        side = max(height, width)
        ratio = SIZE / side
        h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
        y0, x0 = (SIZE - h) // 2, (SIZE - w) // 2
        canvas = np.zeros((SIZE, SIZE, 3), np.float32)
        canvas[y0 : y0 + h, x0 : x0 + w] = cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA)
        boxes, scores = self._network((canvas / 127.5 - 1)[None])
        # clipped first: exp of raw scores overflows
        score = 1 / (1 + np.exp(-np.clip(scores[0, :, 0].astype(np.float64), -100, 100)))
        keep = score > MIN_SCORE
        if not keep.any():
            return []
        values = boxes[0, keep].astype(np.float64).reshape(-1, 8, 2) / SIZE
        values[:, 0] += self._anchors[keep]  # centre; row 1 is the size
        values[:, 2:] += self._anchors[keep][:, None]
        offset = np.array([x0, y0], np.float64)
        values[:, [0, 2, 3, 4, 5, 6, 7]] = (values[:, [0, 2, 3, 4, 5, 6, 7]] * SIZE - offset) / ratio + (left, top)
        values[:, 1] *= side
        return [_detection(v, s) for v, s in _suppress(values, score[keep])]


def _detection(values: Float64, score: float) -> Detection:
    (x, y), (w, h) = values[0], values[1]
    eyes = values[3] - values[2]  # image-left eye to image-right eye
    angle = float(np.arctan2(eyes[1], eyes[0]))
    region = Region(float(x), float(y), float(ROI_MARGIN * max(w, h)), angle)
    return Detection(float(x), float(y), float(w), float(h), score, region)


def _overlap(values: Float64, first: Float64) -> Float64:
    """Intersection over union of boxes [n, 8, 2] (centre, size, ...) with one of them [8, 2]."""
    low = np.maximum(values[:, 0] - values[:, 1] / 2, first[0] - first[1] / 2)
    high = np.minimum(values[:, 0] + values[:, 1] / 2, first[0] + first[1] / 2)
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    union = np.prod(values[:, 1], axis=1) + np.prod(first[1]) - common
    overlap: Float64 = common / np.maximum(union, 1e-9)
    return overlap


def _suppress(values: Float64, score: Float64) -> list[tuple[Float64, float]]:
    """Weighted non-maximum suppression: boxes of one face are averaged by score, which stabilises the region."""
    result = []
    left = np.argsort(-score, kind="stable")
    while len(left):
        same = _overlap(values[left], values[left[0]]) > SAME_FACE_IOU
        same[0] = True
        group = left[same]
        weight = score[group] / score[group].sum()
        result.append((np.einsum("n,nij->ij", weight, values[group]), float(score[left[0]])))
        left = left[~same]
    return result


def _merge(detections: list[Detection]) -> list[Detection]:
    """Keep the best of several detections of the same face in different tiles."""
    result: list[Detection] = []
    for d in sorted(detections, key=lambda d: -d.score):
        if all(np.hypot(d.x - e.x, d.y - e.y) > 0.5 * max(d.width, e.width) for e in result):
            result.append(d)
    return result
