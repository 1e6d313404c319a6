"""Head poses: box coordinates, features for the plate's flow, and affine maps to the reference pose."""

from dataclasses import dataclass

import numpy as np

from vast_cli.core.arrays import Float32

POSE_LIMIT = 2.5  # standard deviations; bounds the quadratic flow beyond the footage's poses
PRODUCT = 0.3  # scale of the products relative to the six parameters, so that both learn at the same rate
_PAIRS = np.triu_indices(6)
N_POSE_FEATURES = 6 + len(_PAIRS[0])


@dataclass(frozen=True)
class Box:
    """The square of the footage that is rendered, resized to `size` (renderer box)."""

    left: float  # pixels of the footage
    top: float
    side: float
    size: int  # pixels of the renderer

    def points(self, points: Float32) -> Float32:
        """Points in footage pixels [..., 2 or 3] to box pixels; depth is scaled, too."""
        result = points.astype(np.float32).copy()
        result[..., 0] -= self.left
        result[..., 1] -= self.top
        scaled: Float32 = result * np.float32(self.size / self.side)
        return scaled


@dataclass(frozen=True)
class PoseStatistics:
    """Mean and standard deviation of an avatar's poses: rotation (3), ln scale, translation x, y."""

    mean: Float32  # [6]
    sd: Float32  # [6]


def pose_vectors(rotation: Float32, scale: Float32, translation: Float32) -> Float32:
    """The six parameters of weak-perspective poses: [n, 6]."""
    return np.concatenate([rotation, np.log(scale)[:, None], translation[:, :2]], 1).astype(np.float32)


def standardise(poses: Float32, statistics: PoseStatistics) -> Float32:
    """Poses [n, 6] in standard deviations of the footage, bounded."""
    q: Float32 = np.clip((poses - statistics.mean) / statistics.sd, -POSE_LIMIT, POSE_LIMIT)
    return q


def pose_features(poses: Float32, statistics: PoseStatistics) -> Float32:
    """Six standardised parameters and their 21 products: [n, 6] -> [n, 27]."""
    q = standardise(poses, statistics)
    return np.concatenate([q, PRODUCT * q[:, _PAIRS[0]] * q[:, _PAIRS[1]]], 1).astype(np.float32)


def affine_to_reference(neutral: Float32, reference: Float32) -> Float32:
    """Affine maps from posed neutral meshes to the reference pose, by least squares.

    Args:
        neutral: [n, 468, 2], the neutral mesh in each pose, box pixels; neutral, so that expressions do not leak.
        reference: [468, 2], the neutral mesh in the mean pose.

    Returns:
        [n, 2, 3], from box pixels of each frame to box pixels of the reference.
    """
    ones = np.ones((*neutral.shape[:2], 1), np.float32)
    design = np.concatenate([neutral[..., :2], ones], 2).astype(np.float64)  # [n, 468, 3]
    gram = np.einsum("nvi,nvj->nij", design, design)
    right = np.einsum("nvi,vj->nij", design, reference[:, :2].astype(np.float64))
    maps: Float32 = np.linalg.solve(gram, right).transpose(0, 2, 1).astype(np.float32)
    return maps
