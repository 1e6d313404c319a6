"""Fit an avatar's texture: unwrap the footage over the mesh, reduce it to principal components."""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from vast_cli.core.arrays import Bools, Float32, Float64, Image, Int64
from vast_cli.renderer.texture import Texture, TextureRegion, kernel

MAX_FRAMES = 1500  # evenly spread; more adds nothing to the components but memory
RIDGE = 0.03  # of the kernel regression; .03-.3 differ by .1 dB
N_DIRECTIONS = 20  # of shape
BOUND = 2.0  # standard deviations of the footage along each
WIDTH = 16.0  # square width of the kernel over the median square distance of frames
GUARD = 12  # frames on either side that a frame's appearance must not be learned from when G trains on it


@dataclass(frozen=True)
class TexturedFrames:
    """Frames that show the texture, and the conditions that it depends on."""

    frames: Image  # [n, size, size, 3], the renderer box of the footage
    vertices: Float32  # [n, 468, 3], box pixels
    lower: Float32  # [n, d], mouth shapes (`Scene.lower`)
    upper: Float32  # [n, d], eye and brow shapes
    pose: Float32  # [n, 6], standardised pose numbers


@dataclass(frozen=True)
class FittedTexture:
    """A texture, and coefficients [n, k] of the frames it was fitted to as if they and their neighbours were unseen."""

    texture: Texture
    lower: Float32
    upper: Float32


class Unwrapper:
    """Unwraps images of a posed mesh to texture images.

    Args:
        uv: [468, 2], texture coordinates in [0, 1].
        triangles: [898, 3].
        size: of the texture, pixels a side.
    """

    def __init__(self, uv: Float32, triangles: Int64, size: int) -> None:
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
            texels = (y.reshape(-1) * size + x.reshape(-1))[inside]
            owner[texels] = index
            weights[texels] = np.stack([1 - u - v, u, v], 1)[inside]
        self.covered = np.flatnonzero(owner >= 0)
        self._vertices = triangles[owner[self.covered]]  # [p, 3]
        self._weights = weights[self.covered].astype(np.float32)
        self._nearest = self._fill_map(owner.reshape(size, size) >= 0)

    def _fill_map(self, covered: Bools) -> Int64:
        """For every texel the nearest covered one (its index in `covered`): borders must not bleed black."""
        _, labels = cv2.distanceTransformWithLabels(
            (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        lookup = np.zeros(int(labels.max()) + 1, np.int64)
        lookup[labels[covered]] = np.arange(covered.sum())
        return lookup[np.asarray(labels, np.int32).reshape(-1)]

    def values(self, per_vertex: Float32) -> Float32:
        """Values of vertices [468, ...] at covered texels: [p, ...]."""
        result: Float32 = np.einsum("pk,pk...->p...", self._weights, per_vertex[self._vertices])
        return result

    def unwrap(self, frame: Image, vertices: Float32) -> Float32:
        """Colours at covered texels: frame [h, w, 3], vertices [468, 2 or 3] in its pixels -> [p, 3]."""
        positions = self.values(vertices[:, :2].astype(np.float32)) - np.float32(0.5)
        # OpenCV's maps have at most 32767 rows
        rows = -(-len(positions) // 256)
        padded = np.zeros((rows * 256, 2), np.float32)
        padded[: len(positions)] = positions
        x, y = cv2.split(padded.reshape(rows, 256, 2))
        sampled = cv2.remap(frame.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(sampled, np.float32).reshape(-1, 3)[: len(positions)]

    def image(self, values: Float32) -> Float32:
        """Covered texels [..., p, 3] as images [..., size, size, 3], the rest filled from the nearest."""
        filled: Float32 = values[..., self._nearest, :].reshape(*values.shape[:-2], self.size, self.size, 3)
        return filled


def fit_texture(
    footage: TexturedFrames,
    lower_weight: Float32,
    unwrapper: Unwrapper,
    *,
    n_lower: int = 32,  # 60 and 40 give the same figures
    n_upper: int = 20,
) -> FittedTexture:
    """Fit mean, components and regression.

    Args:
        footage: frames to fit to.
        lower_weight: [468], 1 where the lower face's mixture rules, 0 where the upper face's does.
        unwrapper: of the texture plane.
        n_lower: components of the lower face.
        n_upper: components of the upper face.
    """
    frames = footage.frames
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).astype(int))
    colours = np.stack([unwrapper.unwrap(frames[k], footage.vertices[k]) for k in chosen])  # [m, p, 3]
    mean = colours.mean(0)
    colours -= mean
    weight = unwrapper.values(lower_weight.astype(np.float32))[:, None]
    regions, unseen = [], []
    for share, shapes, n_components in ((weight, footage.lower, n_lower), (1 - weight, footage.upper, n_upper)):
        components, coefficients = _principal_components((colours * share).reshape(len(chosen), -1), n_components)
        images = unwrapper.image(components.reshape(len(components), -1, 3))
        region, held_out = _fit_region(images, coefficients, shapes, footage.pose, chosen)
        regions.append(region)
        unseen.append(held_out)
    lower, upper = (u.astype(np.float32) for u in unseen)
    return FittedTexture(Texture(unwrapper.image(mean), *regions), lower, upper)


def _fit_region(
    images: Float32, coefficients: Float64, shapes: Float32, pose: Float32, chosen: Int64
) -> tuple[TextureRegion, Float64]:
    """Fit the regression of one region; also the coefficients of all frames as if they were unseen."""
    middle = shapes[chosen].mean(0)
    _, sd, directions = np.linalg.svd((shapes[chosen] - middle) / np.sqrt(len(chosen)), full_matrices=False)
    empty = TextureRegion(
        components=images,
        middle=middle,
        directions=np.ascontiguousarray(directions[:N_DIRECTIONS].T),
        bounds=(BOUND * sd[:N_DIRECTIONS]).astype(np.float32),
        centres=np.zeros((0, 0), np.float32),
        weights=np.zeros((0, 0), np.float32),
        offset=coefficients.mean(0).astype(np.float32),
        gamma=0.0,
    )
    conditions = empty.conditions(shapes, pose)
    centres = conditions[chosen]
    gamma = 1 / (WIDTH * _median_square_distance(centres))
    gram = kernel(centres, centres, gamma) + RIDGE * np.eye(len(chosen))
    inverse = np.asarray(np.linalg.inv(gram), np.float64)
    weights = inverse @ (coefficients - empty.offset)
    region = dataclasses.replace(empty, centres=centres, weights=weights.astype(np.float32), gamma=gamma)
    return region, empty.offset + _leave_out_neighbours(kernel(conditions, centres, gamma), inverse, weights, chosen)


def _leave_out_neighbours(kernels: Float64, inverse: Float64, weights: Float64, chosen: Int64) -> Float64:
    """Prediction of the regression for each frame with its neighbours left out; exact, without fitting again.

    With the centres B left out, the other weights are w - K^-1[:, B] (K^-1[B, B])^-1 w[B], and those of B are 0.
    """
    result = np.empty((len(kernels), weights.shape[1]))
    for frame, row in enumerate(kernels):
        near = np.flatnonzero(np.abs(chosen - frame) <= GUARD)
        change = np.linalg.solve(inverse[np.ix_(near, near)], weights[near])
        result[frame] = row @ weights - (row @ inverse[:, near]) @ change
    return result


def _median_square_distance(points: Float32) -> float:
    sample = points[:: max(1, len(points) // 300)].astype(np.float64)
    square = (sample**2).sum(1)[:, None] + (sample**2).sum(1) - 2 * sample @ sample.T
    return max(float(np.median(square[np.triu_indices(len(sample), 1)])), 1e-6)


def _principal_components(rows: Float32, n_components: int) -> tuple[Float32, Float64]:
    """Principal components [k, d] of centred rows [m, d] and their coefficients [m, k], by the small Gram matrix."""
    gram = (rows @ rows.T).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    largest = np.argsort(values)[::-1][: min(n_components, len(rows))]
    largest = largest[values[largest] > 1e-6 * max(values.max(), 1e-12)]
    scale = np.sqrt(values[largest])
    components = (vectors[:, largest] / scale).T.astype(np.float32) @ rows
    return components.astype(np.float32), vectors[:, largest] * scale
