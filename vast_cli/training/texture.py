"""Fit an avatar's texture: unwrap the footage over the mesh, reduce it to principal components."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.renderer.geometry import Array
from vast_cli.renderer.texture import Region, Texture, bandwidth_of

Image = NDArray[np.uint8]

MAX_FRAMES = 1500  # evenly spread; more adds nothing to components, and memory
RIDGE = 10.0  # frames of weight that pull the pose's share towards none


class Unwrapper:
    """Pictures of a posed mesh to texture pictures.

    Args:
        uv: [468, 2], texture coordinates in [0, 1].
        triangles: [898, 3].
        size: of the texture, pixels a side.
    """

    def __init__(self, uv: Array, triangles: NDArray[np.int64], size: int) -> None:
        self.size = size
        owner = np.full(size * size, -1, np.int64)
        weights = np.zeros((size * size, 3), np.float64)
        corners = uv[triangles].astype(np.float64) * size
        for index, (a, b, c) in enumerate(corners):
            low = np.maximum(np.floor(np.min([a, b, c], 0)).astype(int), 0)
            high = np.minimum(np.ceil(np.max([a, b, c], 0)).astype(int) + 1, size)
            x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
            points = np.stack([x, y], -1).reshape(-1, 2) + 0.5
            area = np.linalg.det(np.stack([b - a, c - a]))
            if abs(area) < 1e-9:
                continue
            u = ((c[1] - a[1]) * (points[:, 0] - a[0]) - (c[0] - a[0]) * (points[:, 1] - a[1])) / area
            v = (-(b[1] - a[1]) * (points[:, 0] - a[0]) + (b[0] - a[0]) * (points[:, 1] - a[1])) / area
            inside = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6)
            where = (y.reshape(-1) * size + x.reshape(-1))[inside]
            owner[where] = index
            weights[where] = np.stack([1 - u - v, u, v], 1)[inside]
        self.covered = np.flatnonzero(owner >= 0)
        self._vertices = triangles[owner[self.covered]]  # [p, 3]
        self._weights = weights[self.covered].astype(np.float32)
        self._nearest = self._fill_map(owner.reshape(size, size) >= 0)

    def _fill_map(self, covered: NDArray[np.bool_]) -> NDArray[np.int64]:
        """For every texel the nearest covered one (its place in `covered`): borders must not bleed black."""
        _, labels = cv2.distanceTransformWithLabels(
            (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        lookup = np.zeros(labels.max() + 1, np.int64)
        lookup[labels[covered]] = np.arange(covered.sum())
        return lookup[labels.reshape(-1)]

    def values(self, per_vertex: Array) -> Array:
        """Values of vertices [468, ...] at covered texels: [p, ...]."""
        result: Array = np.einsum("pk,pk...->p...", self._weights, per_vertex[self._vertices])
        return result

    def unwrap(self, picture: Image, vertices: Array) -> Array:
        """Colours at covered texels: picture [h, w, 3], vertices [468, 2 or 3] in its pixels -> [p, 3]."""
        where = self.values(vertices[:, :2].astype(np.float32)) - np.float32(0.5)
        # OpenCV's maps have at most 32767 rows
        rows = -(-len(where) // 256)
        padded = np.zeros((rows * 256, 2), np.float32)
        padded[: len(where)] = where
        sampled = cv2.remap(
            picture.astype(np.float32),
            padded.reshape(rows, 256, 2),
            None,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return sampled.reshape(-1, 3)[: len(where)]

    def picture(self, values: Array) -> Array:
        """Covered texels [..., p, 3] as pictures [..., size, size, 3], the rest filled from the nearest."""
        filled: Array = values[..., self._nearest, :].reshape(*values.shape[:-2], self.size, self.size, 3)
        return filled


def fit_texture(
    frames: Image,
    vertices: Array,
    *,
    lower_shapes: Array,
    upper_shapes: Array,
    pose: Array,
    lower_weight: Array,
    unwrapper: Unwrapper,
    n_lower: int = 48,
    n_upper: int = 24,
) -> Texture:
    """Fit mean, components and coefficients.

    Args:
        frames: [n, size, size, 3], the renderer box of the footage.
        vertices: [n, 468, 3], box pixels.
        lower_shapes: [n, d], mouth shapes (`Scene.lower`).
        upper_shapes: [n, d], eye and brow shapes.
        pose: [n, 6], standardised pose numbers.
        lower_weight: [468], 1 where the lower face's mixture rules, 0 where the upper face's does.
        unwrapper: of the texture plane.
        n_lower: components kept.
        n_upper: components kept.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).astype(int))
    colours = np.stack([unwrapper.unwrap(frames[k], vertices[k]) for k in chosen])  # [m, p, 3]
    mean = colours.mean(0)
    colours -= mean
    weight = unwrapper.values(lower_weight.astype(np.float32))[:, None]
    regions = []
    # no pose for the lower face: pose goes along with speech, and lips would follow the template's head instead of the
    # mesh (another person's lip gap re-tracked: r .929 with it, .966 without, before G)
    for share, shapes, n_components, shaded in (
        (weight, lower_shapes, n_lower, 0.0),
        (1 - weight, upper_shapes, n_upper, 1.0),
    ):
        components, coefficients = _principal((colours * share).reshape(len(chosen), -1), n_components)
        posed = pose[chosen].astype(np.float64)
        per_pose = shaded * np.linalg.solve(posed.T @ posed + RIDGE * np.eye(6), posed.T @ coefficients)
        regions.append(
            Region(
                components=unwrapper.picture(components.reshape(len(components), -1, 3)),
                coefficients=(coefficients - posed @ per_pose).astype(np.float32),
                pose=per_pose.astype(np.float32),
                shapes=shapes[chosen],
                bandwidth=bandwidth_of(shapes[chosen]),
            )
        )
    return Texture(unwrapper.picture(mean), *regions)


def _principal(rows: Array, n_components: int) -> tuple[Array, NDArray[np.float64]]:
    """Principal components [k, d] of centred rows [m, d] and their coefficients [m, k], by the small Gram matrix."""
    gram = (rows @ rows.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    keep = np.argsort(values)[::-1][: min(n_components, len(rows))]
    keep = keep[values[keep] > 1e-6 * max(values.max(), 1e-12)]
    scale = np.sqrt(values[keep])
    components = (vectors[:, keep] / scale).T.astype(np.float32) @ rows
    return components.astype(np.float32), vectors[:, keep] * scale
