"""Mesh images M: the face model's meshes as the renderer reads them (paper 3.4; channels are ours).

Channels: NCC colour (each vertex has its canonical x, y, z as colour, the same for all persons and frames), mouth
interior, eye openings, irises. The mesh covers mouth and eyes with triangles, so these need channels of their own.

Pixel (row, column) has its centre at (column + 0.5, row + 0.5), as in the tracker. A pixel belongs to a triangle if its
centre does; triangles are rasterised from far to near by their mean depth.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32, Image, Int64
from vast_cli.face.topology import Topology
from vast_cli.records import MeshImages

SHIFT = 4  # bits of sub-pixels in OpenCV's polygons
FAR = float(1 << 20)  # pixels; keeps OpenCV's fixed-point numbers from overflowing
N_CHANNELS = 6
IRISES = ((468, "image_left_eye"), (473, "image_right_eye"))  # centre; the four points of its ring follow it


@dataclass(frozen=True)
class _Spans:
    """Runs of pixels, each in one row and one triangle, in the order in which they are rasterised."""

    triangle: Int64  # [s]
    row: Int64  # [s]
    start: Int64  # [s], first column
    stop: Int64  # [s]


class MeshRasteriser:
    """Rasterises meshes to mesh images with numpy and OpenCV only (400 frames/s at 256 px on one thread)."""

    def __init__(self, topology: Path | None = None, index_sets: Path | None = None) -> None:
        self.topology = Topology.load(topology, index_sets)
        canonical = self.topology.canonical
        low, high = canonical.min(0), canonical.max(0)
        ncc = 255 * (canonical - low) / (high - low)
        attributes = np.concatenate([ncc, self.topology.uv], 1)
        self._attributes = attributes[self.topology.triangles].astype(np.float64)  # [898, 3 corners, 5]

    @property
    def triangles(self) -> Int64:
        """[898, 3], vertices of each triangle."""
        return self.topology.triangles

    @property
    def lips_outer(self) -> Int64:
        """[20], ring of the outer lip line."""
        return self.topology.sets["lips_outer"]

    @property
    def lips_inner(self) -> Int64:
        """[20], ring of the inner lip line, which encloses the mouth interior."""
        return self.topology.sets["lips_inner"]

    def render(self, vertices: Float32, height: int, width: int) -> MeshImages:
        """Rasterise the meshes of a run of frames.

        Args:
            vertices: [n, 478, 3], pixels of the result (from `FaceModel.place`); may lie outside of it.
            height: of the mesh images.
            width: of the mesh images.
        """
        n = len(vertices)
        conditioning = np.zeros((n, height, width, N_CHANNELS), np.uint8)
        uv = np.zeros((n, height, width, 2), np.float32)
        mask = np.zeros((n, height, width), np.uint8)
        for k in range(n):
            self._rasterise_surface(vertices[k], conditioning[k], uv[k], mask[k])
            for channel, image in enumerate(self._fill_openings(vertices[k], height, width), start=3):
                conditioning[k, :, :, channel] = image
        return MeshImages(conditioning, uv, mask)

    def _rasterise_surface(self, vertices: Float32, conditioning: Image, uv: Float32, mask: Image) -> None:
        height, width = mask.shape
        corners = np.clip(vertices[self.triangles].astype(np.float64), -FAR, FAR)  # [898, 3, 3]
        spans = _spans(corners, height, width)
        # x = start .. stop - 1 of each span, one after another
        length = spans.stop - spans.start
        owner = np.repeat(np.arange(len(length), dtype=np.int32), length)
        first = spans.row * width + spans.start - (np.cumsum(length) - length)
        span_at = np.full(height * width, -1, np.int32)
        # of equal indices numpy keeps the last: the nearest
        span_at[np.arange(len(owner)) + np.repeat(first, length)] = owner
        covered = np.flatnonzero(span_at >= 0)
        span = span_at[covered]
        # attributes are affine in x and y over a triangle: value + slope * (x - start) along a span
        at_origin, slope_x, slope_y = _planes(corners, self._attributes)
        triangle = spans.triangle
        value = at_origin[triangle] + slope_y[triangle] * (spans.row + 0.5)[:, None]
        value += slope_x[triangle] * (spans.start + 0.5)[:, None]
        along = (covered - (spans.row * width + spans.start)[span]).astype(np.float32)
        result = slope_x[triangle].astype(np.float32).take(span, 0)
        result *= along[:, None]
        result += value.astype(np.float32).take(span, 0)
        ncc = np.clip(result[:, :3] + np.float32(0.5), 0, 255).astype(np.uint8)
        conditioning.reshape(-1, N_CHANNELS)[covered, :3] = ncc
        uv.reshape(-1, 2)[covered] = np.clip(result[:, 3:], 0, 1)
        mask.reshape(-1)[covered] = 255

    def _fill_openings(self, vertices: Float32, height: int, width: int) -> tuple[Image, Image, Image]:
        sets = self.topology.sets
        mouth, eyes, irises = (np.zeros((height, width), np.uint8) for _ in range(3))
        _fill(mouth, vertices[self.lips_inner, :2])
        for centre, eye in IRISES:
            _fill(eyes, vertices[sets[eye], :2])
            ring = vertices[centre + 1 : centre + 5, :2] - vertices[centre, :2]
            radius = float(np.linalg.norm(ring, axis=1).mean())
            x, y = _fixed(vertices[centre, :2])
            cv2.circle(
                irises, (int(x), int(y)), round(min(radius, 0.01 * FAR) * 2**SHIFT), 255, cv2.FILLED, shift=SHIFT
            )
        return mouth, eyes, cv2.bitwise_and(irises, eyes).astype(np.uint8, copy=False)


def _spans(corners: NDArray[np.float64], height: int, width: int) -> _Spans:
    """Scan-convert triangles [t, 3, 3], far ones first.

    Neighbours share the ends of an edge, so they compute the same column at it: no gap, no pixel twice in a flat mesh.
    """
    order = np.argsort(-corners[:, :, 2].sum(1), kind="stable")
    corners = corners[order]
    by_y = np.argsort(corners[:, :, 1], axis=1, kind="stable")
    x = np.take_along_axis(corners[:, :, 0], by_y, 1)
    y = np.take_along_axis(corners[:, :, 1], by_y, 1)
    first = np.clip(np.ceil(y[:, 0] - 0.5), 0, height).astype(np.int64)
    n_rows = np.clip(np.ceil(y[:, 2] - 0.5), 0, height).astype(np.int64) - first
    triangle = np.repeat(np.arange(len(order)), n_rows)
    row = np.arange(len(triangle)) + (first - (np.cumsum(n_rows) - n_rows))[triangle]

    rise = np.diff(y, axis=1, append=y[:, :1])
    rise[:, 2] = y[:, 2] - y[:, 0]
    rise[rise == 0] = 1  # flat edges meet no row
    # edges 0-1, 1-2, 0-2; x = base + slope * (y - y of the upper end)
    run = np.stack([x[:, 1] - x[:, 0], x[:, 2] - x[:, 1], x[:, 2] - x[:, 0]], 1)
    slope = run / rise
    centre = row + 0.5
    lower = (centre >= y[triangle, 1]).astype(np.int64)
    short = x[triangle, lower] + slope[triangle, lower] * (centre - y[triangle, lower])
    long = x[triangle, 0] + slope[triangle, 2] * (centre - y[triangle, 0])
    start = np.clip(np.ceil(np.minimum(short, long) - 0.5), 0, width).astype(np.int64)
    stop = np.clip(np.ceil(np.maximum(short, long) - 0.5), 0, width).astype(np.int64)
    filled = stop > start
    return _Spans(order[triangle[filled]], row[filled], start[filled], stop[filled])


def _planes(
    corners: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Value at the origin and slopes along x and y of the corners' attributes: each [t, 5]."""
    edge = corners[:, 1:, :2] - corners[:, :1, :2]
    area = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]
    inverse = np.divide(1.0, area, out=np.zeros_like(area), where=np.abs(area) > 1e-9)[:, None]
    rise = values[:, 1:] - values[:, :1]
    slope_x = (rise[:, 0] * edge[:, 1, 1, None] - rise[:, 1] * edge[:, 0, 1, None]) * inverse
    slope_y = (rise[:, 1] * edge[:, 0, 0, None] - rise[:, 0] * edge[:, 1, 0, None]) * inverse
    origin = values[:, 0] - slope_x * corners[:, 0, 0, None] - slope_y * corners[:, 0, 1, None]
    return origin, slope_x, slope_y


def _fixed(points: Float32) -> NDArray[np.int32]:
    """Pixels as OpenCV's fixed-point numbers; its pixel centres are whole numbers, ours end in .5."""
    result: NDArray[np.int32] = np.rint((np.clip(points, -FAR, FAR) - 0.5) * 2**SHIFT).astype(np.int32)
    return result


def _fill(image: Image, ring: Float32) -> None:
    cv2.fillPoly(image, [_fixed(ring)], 255, shift=SHIFT)


def hull(vertices: Float32, height: int, width: int) -> Image:
    """Mask (255 inside) of the convex hull of points [k, 2 or more], pixels: [height, width]."""
    mask = np.zeros((height, width), np.uint8)
    ring = cv2.convexHull(np.ascontiguousarray(vertices[:, :2], np.float32))[:, 0]
    _fill(mask, ring.astype(np.float32))
    return mask
