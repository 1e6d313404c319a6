"""Pose as the renderer needs it: numbers for the plate's flow, and the head's affine motion in the picture."""

from dataclasses import dataclass

import numpy as np

from vast_cli.core.arrays import Float32

POSE_LIMIT = 2.5  # standard deviations; beyond the footage's poses a quadratic flow must not run away
PRODUCT = 0.3  # scale of the products beside the six numbers, so that both learn at one rate
_PAIRS = np.triu_indices(6)
N_POSE_FEATURES = 6 + len(_PAIRS[0])


@dataclass(frozen=True)
class Box:
    """The square of the footage in which pixels are made, resized to `size` (renderer box)."""

    left: float  # pixels of the footage
    top: float
    side: float
    size: int  # pixels of the renderer

    def points(self, picture: Float32) -> Float32:
        """Points in footage pixels [..., 2 or 3] to box pixels; depth is scaled alike."""
        result = picture.astype(np.float32).copy()
        result[..., 0] -= self.left
        result[..., 1] -= self.top
        scaled: Float32 = result * np.float32(self.size / self.side)
        return scaled


@dataclass(frozen=True)
class PoseStatistics:
    """Mean and standard deviation of an avatar's poses: rotation (3), ln scale, translation x, y."""

    mean: Float32  # [6]
    sd: Float32  # [6]


def pose_numbers(rotation: Float32, scale: Float32, translation: Float32) -> Float32:
    """The six numbers of a weak-perspective pose: [n, 6]."""
    return np.concatenate([rotation, np.log(scale)[:, None], translation[:, :2]], 1).astype(np.float32)


def standardised(numbers: Float32, statistics: PoseStatistics) -> Float32:
    """Pose numbers [n, 6] in standard deviations of the footage, bounded."""
    q: Float32 = np.clip((numbers - statistics.mean) / statistics.sd, -POSE_LIMIT, POSE_LIMIT)
    return q


def pose_features(numbers: Float32, statistics: PoseStatistics) -> Float32:
    """Six standardised numbers and their 21 products: [n, 6] -> [n, 27]."""
    q = standardised(numbers, statistics)
    return np.concatenate([q, PRODUCT * q[:, _PAIRS[0]] * q[:, _PAIRS[1]]], 1).astype(np.float32)


def affine_to_reference(neutral: Float32, reference: Float32) -> Float32:
    """Affine maps that lay posed neutral meshes upon the reference pose, least squares.

    Args:
        neutral: [n, 468, 2], the neutral mesh in each pose, box pixels. Pose only: the expression must not leak.
        reference: [468, 2], the neutral mesh in the mean pose.

    Returns:
        [n, 2, 3], from this frame's picture to the reference picture, box pixels.
    """
    ones = np.ones((*neutral.shape[:2], 1), np.float32)
    design = np.concatenate([neutral[..., :2], ones], 2).astype(np.float64)  # [n, 468, 3]
    gram = np.einsum("nvi,nvj->nij", design, design)
    right = np.einsum("nvi,vj->nij", design, reference[:, :2].astype(np.float64))
    maps: Float32 = np.linalg.solve(gram, right).transpose(0, 2, 1).astype(np.float32)
    return maps
