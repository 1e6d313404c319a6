"""Cumulative probability of blur detection: how large a share of the edges looks sharp (Narvekar and Karam 2011).

Follows the published port of the authors' code to the last rule, vectorised: the same values to 1e-9 on uint8 images
(`tests/evaluate/test_cpbd.py`), at 8 times its speed (`benchmarks/sharpness.py`: 12 ms a frame of 256x256). Slopes and
angles are exact in integers. Canny is scikit-image's with its defaults, whose thresholds of .1 and .2 mean almost
nothing on 0-255: they are part of the number and stay.

Noise, sharpening and nearest-neighbour enlargement raise the value: read it as a distance from the truth's.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vast_cli.core.arrays import Bools, Float64, Image

Ints = NDArray[np.int16]

BLOCK = 64  # side of the blocks; incomplete ones at the right and below are left out
EDGE_SHARE = 0.002  # of a block's pixels must be Canny edges, or the block is flat
BETA = 3.6
LOW_CONTRAST = 50  # a block's max - min up to which the just noticeable width is WIDE
WIDE, NARROW = 5.0, 3.0  # just noticeable widths, pixels
SHARP_BELOW = 64  # per cent, rounded: probability of seeing the blur of an edge
MAX_RUN = 100  # pixels a side is followed
MAX_WIDTH = 2 * (MAX_RUN + 1)
TAN_22_5 = np.sqrt(2) - 1  # angles round to 0 or 180 degrees within 22.5
CANNY_SIGMA = 1.0
CANNY_LOW = float(np.float32(0.1))  # scikit-image compares with a single-precision number
CANNY_HIGH = 0.2


def cpbd(grey: Image) -> float | None:
    """Share of edges whose blur is not noticed, 0..1; about .15-.4 for faces at 256 px.

    Args:
        grey: uint8 [H, W].

    Returns:
        None if no complete 64x64 block holds edges that can be measured (`no_edges`).

    Raises:
        ValueError: no uint8 image of one channel.
    """
    if grey.dtype != np.uint8 or grey.ndim != 2:
        raise ValueError(f"image of {grey.dtype} {grey.shape}, not uint8 [H, W]")
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    if not rows or not columns:
        return None
    blocks = _blocks(grey, rows, columns)
    textured = np.count_nonzero(_blocks(canny(grey), rows, columns), axis=2) > BLOCK * BLOCK * EDGE_SHARE
    contrast = blocks.max(2).astype(int) - blocks.min(2)
    widths = _blocks(edge_widths(grey), rows, columns)
    sharp, edges = 0, 0
    for chosen, noticeable in ((contrast <= LOW_CONTRAST, WIDE), (contrast > LOW_CONTRAST, NARROW)):
        counts = np.bincount(widths[textured & chosen].ravel(), minlength=MAX_WIDTH + 1)
        counts[0] = 0  # no edge there
        edges += int(counts.sum())
        sharp += int(counts[_unnoticed(noticeable)].sum())
    return sharp / edges if edges else None


def edge_widths(grey: Image) -> Ints:
    """Width in pixels of every edge that runs up and down (Marziliano), 0 elsewhere: [H, W]."""
    values = grey.astype(np.int16)
    widths = np.zeros(grey.shape, np.int16)
    gx, gy = _gradient(values, 1), _gradient(values, 0)
    if not ((gx != 0) & ((gy != 0) | (gx < 0))).any():  # every angle is 0: the port then measures nothing
        return widths
    level = (gx == 0) | (np.abs(gy) < TAN_22_5 * np.abs(gx))  # angle rounds to 0 or 180; 0 where gx is 0
    edges = _sobel_edges(grey) & level
    edges[[0, -1]] = False
    edges[:, [0, -1]] = False
    for falls in (False, True):
        # mirrored values make a falling edge a rising one
        rising = -values if falls else values
        row, column = np.nonzero(edges & ((gx < 0) == falls))
        left, right = _runs(rising)
        widths[row, column] = 2 + left[row, column - 1] + right[row, column + 1]
    return widths


def canny(grey: Image) -> Bools:
    """Canny edges as scikit-image finds them with its defaults on the grey values as floats: [H, W]."""
    blurred = ndimage.gaussian_filter(grey.astype(np.float64), CANNY_SIGMA, mode="constant")
    blurred /= _coverage(*grey.shape)
    across, down = ndimage.sobel(blurred, axis=1), ndimage.sobel(blurred, axis=0)
    magnitude = down * down
    magnitude += across * across
    np.sqrt(magnitude, out=magnitude)
    thin = _thin(across, down, magnitude)
    labels, count = ndimage.label(thin, np.ones((3, 3), bool))
    good = np.zeros(count + 1, bool)
    good[labels[thin & (magnitude >= CANNY_HIGH)]] = True
    good[0] = False
    strong: Bools = good[labels]
    return strong


def _thin(across: Float64, down: Float64, magnitude: Float64) -> Bools:
    """Pixels that are maxima across their edge, between the eight neighbours by linear interpolation."""
    columns = magnitude.shape[1]
    inside = np.zeros(magnitude.shape, bool)
    inside[1:-1, 1:-1] = magnitude[1:-1, 1:-1] >= CANNY_LOW
    at = np.flatnonzero(inside)
    x, y, m = across.ravel()[at], down.ravel()[at], magnitude.ravel()
    same = (y > 0) == (x > 0)  # the gradient points along the main diagonal
    x_size, y_size = np.abs(x), np.abs(y)
    steep = (y_size > x_size) | ((y_size == x_size) & ~same)
    weight = np.minimum(x_size, y_size) / np.maximum(x_size, y_size)
    turn = np.where(same, columns, -columns)
    straight, diagonal = np.where(steep, turn, 1), turn + 1
    for sign in (1, -1):  # ahead; then behind, of what is left
        beside = m[at + sign * diagonal] * weight + m[at + sign * straight] * (1.0 - weight)
        maximal = beside <= m[at]
        at, weight, straight, diagonal = at[maximal], weight[maximal], straight[maximal], diagonal[maximal]
    thin = np.zeros(magnitude.shape, bool)
    thin.ravel()[at] = True
    return thin


@lru_cache(maxsize=8)
def _coverage(height: int, width: int) -> Float64:
    """Share of the Gaussian window that lies inside the image."""
    whole: Float64 = ndimage.gaussian_filter(np.ones((height, width)), CANNY_SIGMA, mode="constant")
    whole += np.finfo(np.float64).eps
    return whole


def _sobel_edges(grey: Image) -> Bools:
    """Strict maxima of the strong horizontal derivative, along rows or along columns."""
    slope = np.abs(cv2.Sobel(grey, cv2.CV_16S, 1, 0, ksize=3, borderType=cv2.BORDER_REFLECT))
    strength = np.square(slope / 8)  # 8: sum of the kernel's absolute weights
    strength[strength <= 2 * np.sqrt(np.mean(strength))] = 0
    padded = np.pad(strength, 1)
    along_rows = (strength > padded[1:-1, :-2]) & (strength > padded[1:-1, 2:])
    along_columns = (strength > padded[:-2, 1:-1]) & (strength > padded[2:, 1:-1])
    edges: Bools = along_rows | along_columns
    return edges


def _gradient(values: Ints, axis: int) -> Ints:
    """Twice numpy's gradient, in integers."""
    steps = np.diff(values, axis=axis)
    first, last = (np.take(steps, [i], axis=axis) for i in (0, -1))
    twice: Ints = np.concatenate([first, steps], axis) + np.concatenate([steps, last], axis)
    return twice


def _runs(values: Ints) -> tuple[Ints, Ints]:
    """Strictly rising steps that end, and that begin, at every pixel of a row, at most MAX_RUN: 2 x [H, W]."""
    height, width = values.shape
    columns = np.arange(width, dtype=np.int16)
    rises = np.diff(values, axis=1) > 0
    starts = np.zeros((height, width), np.int16)
    starts[:, 1:] = np.where(rises, np.int16(0), columns[1:])
    ends = np.full((height, width), width - 1, np.int16)
    ends[:, :-1] = np.where(rises, np.int16(width - 1), columns[:-1])
    left = columns - np.maximum.accumulate(starts, axis=1)
    right = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1] - columns
    return np.minimum(left, MAX_RUN), np.minimum(right, MAX_RUN)


@lru_cache(maxsize=2)
def _unnoticed(noticeable: float) -> Bools:
    """[MAX_WIDTH + 1], whether the blur of an edge of that width goes unnoticed."""
    widths = np.arange(MAX_WIDTH + 1)
    unnoticed: Bools = np.rint(100 * (1 - np.exp(-((widths / noticeable) ** BETA)))) < SHARP_BELOW
    return unnoticed


def _blocks(image: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The complete blocks: [rows, columns, 64 * 64]."""
    whole: NDArray[Any] = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    blocks: NDArray[Any] = whole.swapaxes(1, 2).reshape(rows, columns, BLOCK * BLOCK)
    return blocks
