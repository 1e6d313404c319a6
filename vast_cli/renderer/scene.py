"""Scenes: mesh images, hulls, mouth and eye shapes and head motion, from expressions and poses.

The renderer does not import the face model; callers pass one (`Face`) and a rasteriser. Training and rendering share
this code, so G is trained on the inputs that it gets from predictions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.records import MeshImages
from vast_cli.renderer.geometry import Box, PoseStatistics, affine_to_reference, pose_features, pose_vectors
from vast_cli.renderer.plate import PlateInput

N_SURFACE = 468  # vertices of the surface; those of the irises follow
HULL_GROWTH = 8 / 256  # of the size: contains the widest open jaw
HULL_FADE = 6 / 256


class Face(Protocol):
    """The part of the face model that the renderer needs (Phi')."""

    def decode(self, identity: Float32, expression: Float32) -> Float32:
        """[478, 3], [n, 233] -> [n, 478, 3], canonical."""
        ...

    def place(self, vertices: Float32, rotation: Float32, scale: Float32, translation: Float32) -> Float32:
        """[n, 478, 3], canonical -> pixels."""
        ...


class Rasteriser(Protocol):
    """Renders mesh images."""

    def render(self, vertices: Float32, height: int, width: int) -> MeshImages:
        """[n, 478, 3], pixels -> mesh images."""
        ...


@dataclass(frozen=True)
class Subject:
    """The person and their place in the frame."""

    box: Box
    identity: Float32  # [478, 3], neutral mesh
    open_jaw: Float32  # [478, 3], the neutral with the jaw wide open; for the hull only
    pose: PoseStatistics
    reference: Float32  # [468, 2], the neutral in the mean pose, box pixels
    lower_vertices: NDArray[np.int64]  # vertices that define the mouth shape
    upper_vertices: NDArray[np.int64]  # vertices that define the shape of eyes and brows


@dataclass(frozen=True)
class Scene:
    """A run of n frames, ready to render."""

    mesh: MeshImages
    lower: Float32  # [n, d], mouth shapes, canonical
    upper: Float32  # [n, d], eye and brow shapes
    pose: Float32  # [n, 6], standardised poses
    plate: PlateInput
    hull: Float32  # [n, size, size], opacity of the face's region, from pose and identity only
    positions: NDArray[np.float64]  # [n], fractional template frames

    def __len__(self) -> int:
        return len(self.lower)


def build(
    subject: Subject,
    expression: Float32,
    pose: tuple[Float32, Float32, Float32],
    *,
    face: Face,
    rasteriser: Rasteriser,
    positions: NDArray[np.float64],
) -> Scene:
    """Compute everything about a run of frames that needs no network.

    Args:
        subject: the person.
        expression: [n, 233].
        pose: rotation [n, 3], scale [n], translation [n, 3], footage pixels.
        face: the face model.
        rasteriser: renders the mesh images.
        positions: [n], template frames of the poses.
    """
    size = subject.box.size
    vertices = face.decode(subject.identity, expression)
    placed = subject.box.points(face.place(vertices, *pose))
    n = len(expression)
    # pose only: a hull or flow that depended on the expression would reveal to G how far the mouth is open
    neutral = subject.box.points(face.place(np.repeat(subject.identity[None], n, 0), *pose))[:, :N_SURFACE]
    jaw = subject.box.points(face.place(np.repeat(subject.open_jaw[None], n, 0), *pose))[:, :N_SURFACE]
    features = pose_features(pose_vectors(*pose), subject.pose)
    affine = affine_to_reference(neutral[..., :2], subject.reference)
    return Scene(
        mesh=rasteriser.render(placed, size, size),
        lower=vertices[:, subject.lower_vertices, :2].reshape(n, -1),
        upper=vertices[:, subject.upper_vertices, :2].reshape(n, -1),
        pose=features[:, :6],
        plate=PlateInput(affine, features),
        hull=hulls(np.concatenate([neutral, jaw], 1)[..., :2], size),
        positions=positions,
    )


def hulls(points: Float32, size: int) -> Float32:
    """Grown convex hulls with a soft border: [n, p, 2] -> [n, size, size] in [0, 1]."""
    result = np.zeros((len(points), size, size), np.float32)
    reach = 2 * round(HULL_GROWTH * size) + 1
    grow = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    for k, cloud in enumerate(points):
        outline = cv2.convexHull(cloud.astype(np.float32))
        mask = np.zeros((size, size), np.uint8)
        cv2.fillConvexPoly(mask, np.round(16 * (outline - 0.5)).astype(np.int32), 255, lineType=cv2.LINE_AA, shift=4)
        inside = cv2.distanceTransform(cv2.dilate(mask, grow), cv2.DIST_L2, 3)
        result[k] = np.clip(inside / (HULL_FADE * size), 0, 1)
    return result


def network_region(hull: Sequence[Float32] | Float32, size: int) -> tuple[int, int, int, int]:
    """Region of G: bounding box of all hulls with a margin, edges at multiples of 8; top, bottom, left, right."""
    union = np.max(np.asarray(hull), axis=0) > 0
    rows, columns = np.flatnonzero(union.any(1)), np.flatnonzero(union.any(0))
    edges = []
    for covered in (rows, columns):
        edges += [max(0, (covered[0] - 8) // 8 * 8), min(size, -(-(covered[-1] + 9) // 8) * 8)]
    return int(edges[0]), int(edges[1]), int(edges[2]), int(edges[3])
