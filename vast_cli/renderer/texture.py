"""The textured mesh: appearance of the person's skin, lips, teeth and eyes for an expression.

Frames of the footage, unwrapped over the mesh's texture plane, are reduced to a mean and principal components,
separately for the lower and the upper face (one model of both would blink with the mouth). Their coefficients come from
a kernel regression on the shape of the lips or the eyes and on the head's pose, which determines the shading. Compared
with a soft mixture of the nearest frames, on obama's held-out tenth over footage: mouth 30.6 dB against 29.8,
`ssim_mouth` .911 against .896, hull 34.1 dB against 33.3. Mean, components and regression are weights, not frames.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32, Image
from vast_cli.records import MeshImages

POSE_WEIGHT = 0.3  # of a standard deviation of pose relative to a canonical unit of shape
EDGE = 5  # pixels over which the textured mesh fades into the background


@dataclass(frozen=True)
class TextureRegion:
    """Fitted appearance of one part of the face."""

    components: Float32  # [k, t, t, 3], in levels of 255, with the region's weight; orthogonal
    middle: Float32  # [d], mean shape
    directions: Float32  # [d, q], the footage's principal directions of shape
    bounds: Float32  # [q], extent of the footage along each
    centres: Float32  # [c, q + 6], conditions of the regression's centres
    weights: Float32  # [c, k], kernel values to coefficients
    offset: Float32  # [k], coefficients far from all centres
    gamma: float  # of the kernel exp(-gamma distance^2)

    def coefficients(self, shape: Float32, pose: Float32) -> Float32:
        """Coefficients of the components for shapes [n, d] in standardised poses [n, 6]: [n, k]."""
        kernels = kernel(self.conditions(shape, pose), self.centres, self.gamma)
        result: Float32 = (kernels @ self.weights + self.offset).astype(np.float32)
        return result

    def conditions(self, shape: Float32, pose: Float32) -> Float32:
        """Input of the regression: shapes [n, d] and poses [n, 6] -> [n, q + 6].

        Predicted shapes and those of other persons differ from the footage's. They are projected onto the footage's
        range; otherwise an open mouth would get the closed lips of the mean texture (lip gap driven by another person:
        r .953 against .936).
        """
        along = np.clip((shape - self.middle) @ self.directions, -self.bounds, self.bounds)
        return np.concatenate([along, POSE_WEIGHT * pose], 1).astype(np.float32)


def kernel(a: Float32, b: Float32, gamma: float) -> NDArray[np.float64]:
    """exp(-gamma |a - b|^2) of all pairs: [n, d], [c, d] -> [n, c]."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)  # small differences of large squares
    square = (a64**2).sum(1)[:, None] + (b64**2).sum(1) - 2 * a64 @ b64.T
    result: NDArray[np.float64] = np.exp(-gamma * np.maximum(square, 0))
    return result


@dataclass(frozen=True)
class Texture:
    """Appearance of a person on the texture plane."""

    mean: Float32  # [t, t, 3], in levels of 255
    lower: TextureRegion
    upper: TextureRegion

    def render(self, lower: Float32, upper: Float32) -> Float32:
        """Texture images for coefficients [n, k] of both regions: [n, t, t, 3], levels of 255."""
        size = self.mean.shape[0]
        flat = lower @ self.lower.components.reshape(len(self.lower.components), -1)
        flat += upper @ self.upper.components.reshape(len(self.upper.components), -1)
        images: Float32 = flat.reshape(-1, size, size, 3) + self.mean
        return images


def drape(textures: Float32, mesh: MeshImages, background: Float32) -> Float32:
    """Map textures onto meshes, with borders faded into the background.

    Args:
        textures: [n, t, t, 3], levels of 255.
        mesh: mesh images of the same n frames.
        background: [n, h, w, 3], levels of 255.

    Returns:
        [n, h, w, 3], float32, levels of 255.
    """
    size = textures.shape[1]
    result = np.empty_like(background)
    for k in range(len(textures)):
        rows, columns = _extent(mesh.mask[k])
        x, y = np.moveaxis(mesh.uv[k, rows, columns] * np.float32(size) - np.float32(0.5), 2, 0)
        image = cv2.remap(textures[k], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        alpha = feather(mesh.mask[k])[rows, columns, None]
        result[k] = background[k]
        result[k, rows, columns] += alpha * (image - background[k, rows, columns])
    return result


def feather(mask: Image) -> Float32:
    """Opacity of a mask that fades out towards its border, on the inside: [h, w] in [0, 1]."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1].astype(np.float32)
    opacity: Float32 = np.clip(inside / np.float32(EDGE), 0, 1)
    return opacity


def _extent(mask: Image) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
