"""The textured mesh: what the person's skin, lips, teeth and eyes look like for a wanted expression.

Frames of the footage, unwrapped over the mesh's texture plane, are reduced to a mean and principal components, apart
for the lower and the upper face. At use the components are mixed by soft nearest neighbours: the lower face's by the
shape of the lips, the upper face's by lids, brows and gaze (one mixture for both would blink with the mouth). A linear
term in the head's pose carries shading. Mean, components and coefficients are fitted: weights, not frames.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.records import MeshImages
from vast_cli.renderer.geometry import Array

Image = NDArray[np.uint8]

NEAREST = 6  # the bandwidth reaches at least this neighbour
HALF_WAY = 13  # ... and half the distance of this one in the median
MOST = 60  # frames mixed at most
EDGE = 5  # pixels over which the textured mesh fades into what lies under it


@dataclass(frozen=True)
class Region:
    """One part of the face: its fitted appearance and the shapes it was seen in."""

    components: Array  # [k, t, t, 3], in levels of 255, with the region's weight; orthogonal
    coefficients: Array  # [frames, k], without the part explained by pose
    pose: Array  # [6, k], coefficients a standard deviation of each pose number
    shapes: Array  # [frames, d], what neighbours are told by
    bandwidth: float  # half the median distance to the 13th neighbour

    def mix(self, shape: Array, pose: Array, *, exclude: int | None = None, guard: int = 12) -> Array:
        """Coefficients of wanted shapes by soft nearest neighbours.

        Args:
            shape: [n, d].
            pose: [n, 6], standardised pose numbers.
            exclude: in training, the number of the first frame: each frame and `guard` on either side is left out.
            guard: frames.

        Returns:
            [n, k].
        """
        distance = np.sqrt(np.maximum(_square_distance(shape, self.shapes), 0))
        if exclude is not None:
            own = exclude + np.arange(len(shape))
            near = np.abs(np.arange(len(self.shapes)) - own[:, None]) <= guard
            distance = np.where(near, np.inf, distance)
        width = np.maximum(self.bandwidth, np.partition(distance, NEAREST - 1, axis=1)[:, NEAREST - 1])[:, None]
        weight = np.exp(-0.5 * (distance / np.maximum(width, 1e-6)) ** 2)
        if weight.shape[1] > MOST:
            least = np.partition(weight, -MOST, axis=1)[:, -MOST][:, None]
            weight = np.where(weight >= least, weight, 0)
        weight /= weight.sum(1, keepdims=True)
        mixed: Array = (weight @ self.coefficients + pose @ self.pose).astype(np.float32)
        return mixed


@dataclass(frozen=True)
class Texture:
    """Appearance of a person over the texture plane."""

    mean: Array  # [t, t, 3], in levels of 255
    lower: Region
    upper: Region

    def paint(self, lower: Array, upper: Array) -> Array:
        """Texture pictures of coefficients [n, k] of both regions: [n, t, t, 3], levels of 255."""
        size = self.mean.shape[0]
        flat = lower @ self.lower.components.reshape(len(self.lower.components), -1)
        flat += upper @ self.upper.components.reshape(len(self.upper.components), -1)
        picture: Array = flat.reshape(-1, size, size, 3) + self.mean
        return picture


def bandwidth_of(shapes: Array, *, guard: int = 12) -> float:
    """Half the median distance of a frame to its 13th neighbour outside its own surroundings."""
    distance = np.sqrt(np.maximum(_square_distance(shapes, shapes), 0))
    index = np.arange(len(shapes))
    distance[np.abs(index - index[:, None]) <= guard] = np.inf
    reach = min(HALF_WAY, len(shapes)) - 1
    neighbour = np.partition(distance, reach, axis=1)[:, reach]
    known = neighbour[np.isfinite(neighbour)]
    return float(0.5 * np.median(known)) if len(known) else 1.0


def _square_distance(a: Array, b: Array) -> NDArray[np.float64]:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    result: NDArray[np.float64] = (a64**2).sum(1)[:, None] + (b64**2).sum(1) - 2 * a64 @ b64.T
    return result


def drape(textures: Array, mesh: MeshImages, below: Array) -> Array:
    """Lay textures over meshes and fade their borders into what lies below.

    Args:
        textures: [n, t, t, 3], levels of 255.
        mesh: mesh images of the same n frames.
        below: [n, h, w, 3], levels of 255.

    Returns:
        [n, h, w, 3], float32, levels of 255.
    """
    size = textures.shape[1]
    result = np.empty_like(below)
    for k in range(len(textures)):
        rows, columns = _extent(mesh.mask[k])
        x, y = np.moveaxis(mesh.uv[k, rows, columns] * np.float32(size) - np.float32(0.5), 2, 0)
        picture = cv2.remap(textures[k], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        alpha = feather(mesh.mask[k])[rows, columns, None]
        result[k] = below[k]
        result[k, rows, columns] += alpha * (picture - below[k, rows, columns])
    return result


def feather(mask: Image) -> Array:
    """Opacity of a mask that fades to nothing at its border, inwards: [h, w] in [0, 1]."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1].astype(np.float32)
    opacity: Array = np.clip(inside / np.float32(EDGE), 0, 1)
    return opacity


def _extent(mask: Image) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
