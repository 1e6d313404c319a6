"""Rotations and similarities of point sets, many frames at once.

Canonical axes everywhere in `face`: x to the right of the image, y up, z to the camera. `flip` converts to and from
image axes (y down, z away from the camera), which are those of the landmark network.
"""

import numpy as np

from vast_cli.core.arrays import Float32

FLIP = np.array([1.0, -1.0, -1.0], np.float32)


def flip(points: Float32) -> Float32:
    """Image axes to canonical axes and back: y and z negated. [..., 3]."""
    result: Float32 = points * FLIP
    return result


def rotation_matrix(vector: Float32) -> Float32:
    """Rotation vectors [n, 3] (axis times angle, radians) as matrices [n, 3, 3]."""
    v = np.asarray(vector, np.float64)
    angle = np.linalg.norm(v, axis=-1)[:, None, None]
    x, y, z = v[:, 0], v[:, 1], v[:, 2]
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    # sinc forms: exact at 0 too
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    result: Float32 = (np.eye(3) + first * cross + second * (cross @ cross)).astype(np.float32)
    return result


def rotation_vector(matrix: Float32) -> Float32:
    """Matrices [n, 3, 3] as rotation vectors [n, 3] of length at most pi, through quaternions (exact at 0 and pi)."""
    m = np.asarray(matrix, np.float64)
    trace = np.trace(m, axis1=1, axis2=2)
    diagonal = np.diagonal(m, axis1=1, axis2=2)
    # 4 w^2, 4 x^2, 4 y^2, 4 z^2; the largest is the safe divisor
    squares = np.concatenate([(1 + trace)[:, None], 1 + 2 * diagonal - trace[:, None]], 1)
    sums = np.stack([m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]], 1)
    pairs = np.stack([m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]], 1)
    n = len(m)
    outer = np.empty((n, 4, 4))  # 4 q q^T
    outer[:, range(4), range(4)] = squares
    outer[:, 0, 1:] = outer[:, 1:, 0] = sums
    outer[:, 1, 2] = outer[:, 2, 1] = pairs[:, 0]
    outer[:, 1, 3] = outer[:, 3, 1] = pairs[:, 1]
    outer[:, 2, 3] = outer[:, 3, 2] = pairs[:, 2]
    quaternion = outer[np.arange(n), np.argmax(squares, 1)]
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    quaternion *= np.where(quaternion[:, :1] < 0, -1.0, 1.0)
    sine = np.linalg.norm(quaternion[:, 1:], axis=1)
    angle = 2 * np.arctan2(sine, quaternion[:, 0])
    factor = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-12), 2.0)
    result: Float32 = (quaternion[:, 1:] * factor[:, None]).astype(np.float32)
    return result


def similarity(source: Float32, target: Float32, weight: Float32) -> tuple[Float32, Float32, Float32]:
    """Weighted similarity from each `source` mesh to one `target` (Umeyama 1991), by batched SVD.

    Args:
        source: [n, v, 3].
        target: [v, 3].
        weight: [v], not negative, sum 1.

    Returns:
        scale [n], rotation [n, 3, 3], translation [n, 3] with target ~ scale * rotation @ source + translation.
    """
    source_mean = np.einsum("v,nvc->nc", weight, source)
    target_mean = weight @ target
    centred = source - source_mean[:, None]
    # the sum runs over few vertices with weight: one product [3, v] @ [n, v, 3]
    weighted = ((target - target_mean) * weight[:, None]).T
    covariance = np.matmul(weighted, centred).astype(np.float64)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    u[:, :, 2] *= sign[:, None]
    singular[:, 2] *= sign
    rotation = u @ vt
    variance = np.einsum("v,nvc,nvc->n", weight, centred, centred)
    scale = singular.sum(1) / np.maximum(variance, 1e-12)
    translation = target_mean - scale[:, None] * np.einsum("nij,nj->ni", rotation, source_mean)
    return scale.astype(np.float32), rotation.astype(np.float32), translation.astype(np.float32)
