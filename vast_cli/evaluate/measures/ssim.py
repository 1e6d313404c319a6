"""Structural similarity of two images (Wang et al. 2004).

`ssim_map` and `ssim` follow that paper's convention: Gaussian window of sigma 1.5 and 11 taps, K1 .01, K2 .03,
population covariance, range 255, on luma. `ssim_rgb7` is the other convention in papers: a 7x7 uniform window,
sample covariance, on colour. Both equal scikit-image's `structural_similarity` (`tests/evaluate/test_ssim.py`).
"""

import cv2
import numpy as np

from vast_cli.core.arrays import Float64, Image

SIGMA = 1.5
RADIUS = 5  # taps on each side: 3.5 sigma, rounded
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
BOX = 7  # side of the uniform window
GAUSS = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
GAUSS /= GAUSS.sum()
UNIFORM = np.full(BOX, 1 / BOX)


def ssim_map(a: Image, b: Image) -> Float64:
    """SSIM of every pixel of two luma images.

    Args:
        a: uint8 [H, W].
        b: uint8 [H, W].

    Returns:
        [H, W], -1..1; images are reflected at their edges.

    Raises:
        ValueError: the images are no uint8 luma of one size.
    """
    _check(a, b, ndim=2, side=2 * RADIUS + 1)
    return _map(a, b, GAUSS, scale=1.0)


def ssim(a: Image, b: Image) -> float:
    """Mean SSIM of two luma images, without the border of 5 pixels that the window does not fill.

    Raises:
        ValueError: as `ssim_map`.
    """
    return float(ssim_map(a, b)[RADIUS:-RADIUS, RADIUS:-RADIUS].mean())


def ssim_rgb7(a: Image, b: Image) -> float:
    """Mean SSIM of two colour images with a 7x7 uniform window and sample covariance, mean over channels.

    Args:
        a: uint8 [H, W, 3].
        b: uint8 [H, W, 3].

    Raises:
        ValueError: the images are no uint8 colour of one size.
    """
    _check(a, b, ndim=3, side=BOX)
    pad = BOX // 2
    whole = _map(a, b, UNIFORM, scale=BOX * BOX / (BOX * BOX - 1))
    return float(whole[pad:-pad, pad:-pad].mean())


def _map(a: Image, b: Image, window: Float64, *, scale: float) -> Float64:
    """SSIM per pixel (and channel); `scale` turns the population covariance into the sample's."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    product = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    # the formula holds the sum of the variances only: one blur for both
    variances = scale * (_blur(x * x + y * y, window) - squares)
    covariance = scale * (_blur(x * y, window) - product)
    result: Float64 = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return result


def _blur(x: Float64, window: Float64) -> Float64:
    return np.asarray(cv2.sepFilter2D(x, cv2.CV_64F, window, window, borderType=cv2.BORDER_REFLECT), np.float64)


def _check(a: Image, b: Image, *, ndim: int, side: int) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"images of {a.dtype} and {b.dtype}, not uint8: their range would be a guess")
    if a.shape != b.shape or a.ndim != ndim:
        raise ValueError(f"images of shape {a.shape} and {b.shape}; {ndim} dimensions of one size are needed")
    if min(a.shape[:2]) < side:
        raise ValueError(f"image of {a.shape[1]}x{a.shape[0]} is smaller than the window of {side}")
