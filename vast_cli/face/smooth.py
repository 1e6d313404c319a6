"""Savitzky-Golay filters over time for values that must not jitter.

They work offline and look ahead: the pose takes a parabola over 9 frames (second difference of the angles 0.58 / 0.72 /
0.31 to 0.15 / 0.20 / 0.09 degrees), the weak components over 5 (blinks stay: flattened by 0.15 %IOD). The strong ones
stay raw, because any filter opens closed lips.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.face.model import Pose

POSE_WINDOW = 9
WEAK_WINDOW = 5


@functools.cache
def _matrix(n: int, window: int) -> NDArray[np.float64]:
    """[n, n] for n <= window: the parabola through all samples at each of them."""
    t = np.arange(n, dtype=np.float64)
    powers = np.stack([t**k for k in range(min(3, n))], 1)
    return powers @ np.linalg.pinv(powers)


def savgol(values: Float32, window: int) -> Float32:
    """Savitzky-Golay filter of degree 2 along axis 0; at the ends the parabola of the first and last window.

    Args:
        values: [n, ...].
        window: odd number of frames.
    """
    n = len(values)
    flat = values.reshape(n, -1).astype(np.float64)
    if n <= window:
        short: Float32 = (_matrix(n, window) @ flat).astype(np.float32).reshape(values.shape)
        return short
    full = _matrix(window, window)
    half = window // 2
    result = np.empty_like(flat)
    result[half : n - half] = sum(full[half, k] * flat[k : n - window + 1 + k] for k in range(window))
    result[:half] = full[:half] @ flat[:window]
    result[n - half :] = full[half + 1 :] @ flat[n - window :]
    filtered: Float32 = result.astype(np.float32).reshape(values.shape)
    return filtered


def by_segment(values: Float32, segment: NDArray[np.int16], window: int) -> Float32:
    """`savgol` within each run of equal `segment` [n]; frames with segment -1 stay as they are."""
    result: Float32 = values.copy()
    borders = np.flatnonzero(np.diff(segment)) + 1
    for run in np.split(np.arange(len(values)), borders):
        if len(run) and segment[run[0]] >= 0:
            result[run] = savgol(values[run], window)
    return result


def unwrap(rotation: Float32) -> Float32:
    """Rotation vectors [n, 3] without jumps: beyond half a turn a vector and its complement are the same rotation."""
    result = rotation.astype(np.float64)
    for k in range(1, len(result)):
        angle = float(np.linalg.norm(result[k]))
        if angle < 1e-6:
            continue
        turned = result[k] * (1 - 2 * np.pi / angle)
        if np.linalg.norm(turned - result[k - 1]) < np.linalg.norm(result[k] - result[k - 1]):
            result[k] = turned
    return result.astype(np.float32)


def smooth_pose(pose: Pose, segment: NDArray[np.int16]) -> Pose:
    """Savitzky-Golay 9/2 of rotation, log scale and translation within each segment [n]."""
    rotation = by_segment(unwrap(pose.rotation), segment, POSE_WINDOW)
    scale = np.exp(by_segment(np.log(pose.scale), segment, POSE_WINDOW))
    return Pose(rotation, scale, by_segment(pose.translation, segment, POSE_WINDOW))


def smooth_weak(expression: Float32, segment: NDArray[np.int16], *, n_strong: int) -> Float32:
    """Expressions [n, 233] with the weak components Savitzky-Golay 5/2 filtered and the strong ones as they were."""
    result: Float32 = expression.copy()
    result[:, n_strong:] = by_segment(expression[:, n_strong:], segment, WEAK_WINDOW)
    return result
