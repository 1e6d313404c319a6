"""What a face's texture is made of, in 80 numbers: energies of a Laplacian pyramid over a grid, for Frechet distances.

A substitute for learned features that needs no weights: it responds to blur, noise and stillness, not to meaning.
"""

import cv2
import numpy as np

from vast_cli.core.arrays import Float64, Image

Square = tuple[float, float, float]  # centre x, centre y, half side, pixels

N_BANDS = 4
FACE_GRID = 4
MOUTH_GRID = 2
MOUTH_SIDE = 96  # the mouth's square is resized to this
FLOOR = 0.05  # grey levels squared: keeps the logarithm of a still surface finite
SIZE = N_BANDS * (FACE_GRID**2 + MOUTH_GRID**2)


def band80(luma: Image, mouth: Square) -> Float64:
    """Log energies of four bands on a 4x4 grid of the face and a 2x2 grid of the mouth.

    Args:
        luma: uint8 [256, 256], the face crop, 0-255.
        mouth: the truth's mouth square in this crop: centre x, centre y, half side; half a side is .9 lip widths. Where
            it leaves the crop, the crop's edge is repeated.

    Returns:
        [80], first the face's 64 (band by band, finest first, row by row), then the mouth's 16.

    Raises:
        ValueError: no uint8 image whose sides divide by 32.
    """
    if luma.dtype != np.uint8 or luma.ndim != 2 or any(side % 32 or not side for side in luma.shape):
        raise ValueError(f"image of {luma.dtype} {luma.shape}, not uint8 [256, 256]")
    return np.concatenate([_energies(luma, FACE_GRID), _energies(_cut(luma, mouth), MOUTH_GRID)])


def _energies(image: Image, grid: int) -> Float64:
    """log(.05 + mean square) of each band in each cell: [N_BANDS * grid * grid]."""
    level: Float64 = image.astype(np.float64)
    energies = []
    for _ in range(N_BANDS):
        height, width = level.shape
        coarser = np.asarray(cv2.pyrDown(level), np.float64)  # 5-tap binomial
        band = level - cv2.pyrUp(coarser, dstsize=(width, height))
        cells = np.square(band).reshape(grid, height // grid, grid, width // grid)
        energies.append(np.log(FLOOR + cells.mean((1, 3))).ravel())
        level = coarser
    return np.concatenate(energies)


def _cut(luma: Image, square: Square) -> Image:
    """The square, moved to whole pixels, as [MOUTH_SIDE, MOUTH_SIDE]."""
    x, y, half = square
    side = max(round(2 * half), 2)
    left, top = round(x - side / 2), round(y - side / 2)
    rows = np.clip(np.arange(top, top + side), 0, luma.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, luma.shape[1] - 1)
    interpolation = cv2.INTER_AREA if side > MOUTH_SIDE else cv2.INTER_CUBIC
    square_pixels = luma[np.ix_(rows, columns)]
    return np.asarray(cv2.resize(square_pixels, (MOUTH_SIDE, MOUTH_SIDE), interpolation=interpolation), np.uint8)
