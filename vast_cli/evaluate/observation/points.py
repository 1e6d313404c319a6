"""Points of the mesh that measures use, and the similarity that aligns one face with another."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [n, 2], pixels, x right, y down

# the 68 points of iBUG in their usual order, as vertices of the 478-point mesh
IBUG = np.array(
    [
        *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
        *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # brows
        *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
        *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
    ]
)
STILL = np.array([*range(27, 36), 36, 39, 42, 45])  # of IBUG: nose and eye corners do not move with speech
MOUTH = slice(48, 68)  # of IBUG
INNER_LIPS = (62, 66)  # of IBUG: mesh points 13 and 14
OUTER_EYES = (36, 45)  # of IBUG: mesh points 33 and 263
LIDS = ((37, 41, 38, 40, 36, 39), (43, 47, 44, 46, 42, 45))  # of IBUG: two pairs of lids, corners; both eyes


def similarity(source: Points, target: Points) -> tuple[Points, Points]:
    """Least squares scale, rotation and translation without reflection (Umeyama 1991) from `source` to `target`.

    Args:
        source: [..., n, 2].
        target: [..., n, 2].

    Returns:
        matrix [..., 2, 2] and offset [..., 2]: `source @ matrix.T + offset` lies on `target`.
    """
    centre, target_centre = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    a, b = source - centre, target - target_centre
    covariance = np.swapaxes(b, -1, -2) @ a / source.shape[-2]
    u, d, vt = np.linalg.svd(covariance)
    sign = np.ones_like(d)
    sign[..., 1] = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1.0, 1.0)
    scale = (d * sign).sum(-1) / (a**2).sum((-1, -2)) * source.shape[-2]
    matrix = scale[..., None, None] * (u * sign[..., None, :]) @ vt
    offset = target_centre[..., 0, :] - (matrix @ centre[..., 0, :, None])[..., 0]
    return matrix, offset


def move(points: Points, matrix: Points, offset: Points) -> Points:
    """`points` [..., n, 2] moved by a similarity."""
    return points @ np.swapaxes(matrix, -1, -2) + offset[..., None, :]


def eye_distance(points: Points) -> NDArray[np.float64]:
    """Distance of the outer eye corners: [..., 68, 2] -> [...], pixels."""
    distance: NDArray[np.float64] = np.linalg.norm(
        points[..., OUTER_EYES[0], :] - points[..., OUTER_EYES[1], :], axis=-1
    )
    return distance


def lip_gap(points: Points) -> NDArray[np.float64]:
    """Gap of the inner lips over the distance of the outer eye corners: [..., 68, 2] -> [...]."""
    gap: NDArray[np.float64] = np.linalg.norm(points[..., INNER_LIPS[0], :] - points[..., INNER_LIPS[1], :], axis=-1)
    return gap / eye_distance(points)


def eye_opening(points: Points) -> NDArray[np.float64]:
    """Mean eye aspect ratio of both eyes (Soukupova and Cech 2016): [..., 68, 2] -> [...]."""

    def length(a: int, b: int) -> NDArray[np.float64]:
        distance: NDArray[np.float64] = np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1)
        return distance

    ratios = [(length(a, b) + length(c, d)) / (2 * length(e, f)) for a, b, c, d, e, f in LIDS]
    return (ratios[0] + ratios[1]) / 2
