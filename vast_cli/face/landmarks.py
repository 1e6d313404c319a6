"""478 landmarks of a face: MediaPipe's attention mesh, cut in two TFLite graphs.

LiteRT cannot load the whole graph because of three custom operations; these (cut a 16 x 16 patch of the feature map
around lips and eyes, rotate the heads' outputs back) are numpy here. Difference from the one-graph original: 5e-5 px.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vast_cli.core.arrays import Float32, Float64, Image
from vast_cli.face.detect import Region
from vast_cli.face.networks import Network
from vast_cli.face.topology import Topology
from vast_cli.store import assets

SIZE = 192  # pixels, input of the backbone
GRID = 48  # side of its feature map
PATCH = 16  # side of a head's input
MARGIN = 1.5  # of a patch around its points
MIN_FLAG = 0.5
MAX_SHRINK = 3  # regions larger than this many times SIZE are shrunk first, else the crop would alias
OUTER_EYES = (33, 263)
# points that lie level in each patch: lips, image-left eye, image-right eye
TURN = ((61, 291), (33, 133), (362, 263))
IRISES = (468, 473)  # first point of each


@dataclass(frozen=True)
class Landmarks:
    """One face in one frame."""

    points: Float32  # [478, 3], pixels (x right, y down, z away from the camera in the scale of x)
    flag: float  # 0..1: a face is there (near 1) or not; not a measure of quality


class LandmarkNet:
    """Finds the landmarks of the face in a region of an image."""

    def __init__(
        self, backbone: Path | None = None, heads: Path | None = None, topology: Topology | None = None
    ) -> None:
        backbone = assets.find("face_mesh_backbone") if backbone is None else backbone
        heads = assets.find("face_mesh_heads") if heads is None else heads
        self._backbone = Network(backbone, ["output_mesh", "p_re_lu_3", "conv_faceflag"])
        self._heads = Network(heads, ["reshape_1", "reshape_3", "reshape_4", "reshape_6", "reshape_7"])
        sets = (topology or Topology.load()).sets
        self._subsets = [sets["attention_lips"], sets["attention_image_left_eye"], sets["attention_image_right_eye"]]
        contours = [sets["image_left_eye"], sets["image_right_eye"]]
        self._contours = contours
        y, x = np.meshgrid(np.arange(PATCH), np.arange(PATCH), indexing="ij")
        self._cells = np.stack([x.ravel(), y.ravel()], 1) + 0.5 - PATCH / 2  # [256, 2]

    def locate(self, frame: Image, region: Region) -> Landmarks:
        """Find the landmarks of the face in `region` of an upright RGB image [H, W, 3].

        With a flag below `MIN_FLAG` there is no face and the points mean nothing.
        """
        mesh, features, flag = self._backbone(_crop(frame, region)[None])
        score = float(1 / (1 + np.exp(-np.clip(float(flag.reshape(-1)[0]), -100, 100))))
        points = np.zeros((478, 3), np.float64)  # the irises are not known yet: uninitialised memory may hold NaN
        points[:468] = mesh.reshape(468, 3)
        if score >= MIN_FLAG:
            self._refine(points, features.reshape(GRID * GRID, -1))
        else:
            points[468:] = 0
        return Landmarks(_to_image(points, region), score)

    def _refine(self, points: Float64, features: Float32) -> None:
        """Replace lips and eyes by the outputs of the heads and add the irises, in crop pixels."""
        axes, centres = [], []
        for subset, (start, end) in zip(self._subsets, TURN, strict=True):
            xy = points[:, :2] * (GRID / SIZE)
            level = xy[end] - xy[start]
            ux, uy = level / max(float(np.hypot(*level)), 1e-6)
            turn = np.array([[ux, -uy], [uy, ux]])
            turned = xy[subset] @ turn
            low, high = turned.min(0), turned.max(0)
            centres.append(turn @ (low + high) / 2)
            axes.append(turn * (MARGIN * (high - low) / PATCH))
        where = np.concatenate([self._cells @ a.T + c - 0.5 for a, c in zip(axes, centres, strict=True)])
        patches = _sample(features, where).reshape(3, 1, PATCH, PATCH, -1)
        lips, left, left_iris, right, right_iris = (o[0].astype(np.float64) for o in self._heads(*patches))

        def back(k: int, output: Float64) -> Float64:
            # the unit of the heads is 1/64 of the patch
            return np.asarray(output @ axes[k].T + 4 * (centres[k] - axes[k] @ np.array([8.0, 8.0])))

        for k, output in enumerate((lips, left, right)):
            points[self._subsets[k], :2] = back(k, output)
        for k, (first, output) in enumerate(zip(IRISES, (left_iris, right_iris), strict=True)):
            points[first : first + 5, :2] = back(k + 1, output)
            points[first : first + 5, 2] = points[self._contours[k], 2].mean()


def _crop(frame: Image, region: Region) -> Float32:
    """The region as the network's input: [192, 192, 3] in 0..1. Pixel centres lie at +0.5 in image and crop."""
    x, y, size = region.x, region.y, region.size
    if size > MAX_SHRINK * SIZE:
        frame, x, y, size = _shrink(frame, region)
    c, s = np.cos(region.angle) * size / SIZE, np.sin(region.angle) * size / SIZE
    linear = np.array([[c, -s], [s, c]])
    shift = np.array([x, y]) - 0.5 + linear @ np.full(2, 0.5 - SIZE / 2)
    affine = np.concatenate([linear, shift[:, None]], 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(frame, affine, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    result: Float32 = np.multiply(crop, np.float32(1 / 255), dtype=np.float32)
    return result


def _shrink(frame: Image, region: Region) -> tuple[Image, float, float, float]:
    """The part of the image around a region, shrunk by a whole number; the region's centre and size in it."""
    height, width = frame.shape[:2]
    factor = int(region.size // (1.5 * SIZE))
    reach = region.size * 0.75  # half the diagonal and a margin
    x0, x1 = (int(np.clip(v, 0, width)) for v in (region.x - reach, region.x + reach))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (region.y - reach, region.y + reach))
    x1, y1 = max(x1, min(x0 + factor, width)), max(y1, min(y0 + factor, height))
    part = frame[y0:y1, x0:x1]
    if min(part.shape[:2]) < factor:
        return frame, region.x, region.y, region.size
    h, w = part.shape[0] // factor, part.shape[1] // factor
    part = part[: h * factor, : w * factor]
    small = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, (region.x - x0) / factor, (region.y - y0) / factor, region.size / factor


def _sample(features: Float32, where: Float64) -> Float32:
    """Bilinear samples of a map [48 * 48, c] at index positions [p, 2] (x, y); 0 outside of the map."""
    last = GRID - 1
    inside = np.logical_and(where >= 0, where <= last).all(axis=1).reshape(-1, 1)
    where = np.clip(where, 0, last)
    cell = np.minimum(where.astype(np.int64), last - 1)
    fraction = (where - cell).astype(np.float32) * inside
    fx, fy = fraction[:, :1], fraction[:, 1:]
    index = cell[:, 1] * GRID + cell[:, 0]
    top = features[index] * (inside.astype(np.float32) - fx) + features[index + 1] * fx
    bottom = features[index + GRID] * (inside.astype(np.float32) - fx) + features[index + GRID + 1] * fx
    result: Float32 = top + (bottom - top) * fy
    return result


def _to_image(points: Float64, region: Region) -> Float32:
    c, s = np.cos(region.angle), np.sin(region.angle)
    ratio = region.size / SIZE
    result = np.empty((len(points), 3), np.float32)
    x, y = (points[:, 0] - SIZE / 2) * ratio, (points[:, 1] - SIZE / 2) * ratio
    result[:, 0] = c * x - s * y + region.x
    result[:, 1] = s * x + c * y + region.y
    result[:, 2] = points[:, 2] * ratio
    return result


def next_region(points: Float32) -> Region:
    """Where to look in the next frame: the levelled box of the face's 468 points, enlarged by half."""
    eyes = points[OUTER_EYES[1], :2] - points[OUTER_EYES[0], :2]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    c, s = np.cos(angle), np.sin(angle)
    xy = points[:468, :2].astype(np.float64)
    along, across = c * xy[:, 0] + s * xy[:, 1], c * xy[:, 1] - s * xy[:, 0]
    u, v = (along.min() + along.max()) / 2, (across.min() + across.max()) / 2
    size = MARGIN * max(np.ptp(along), np.ptp(across))
    return Region(float(c * u - s * v), float(s * u + c * v), float(size), angle)
