"""Single images: PNG files and contact sheets. OpenCV's order of channels is used nowhere else."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.errors import VastError
from vast_cli.core.files import atomic_write

GAP = 4  # pixels between the images of a sheet
BACKGROUND = 255


def write_png(path: Path, image: NDArray[np.uint8], *, overwrite: bool = True) -> None:
    """Write RGB [H, W, 3] or grey [H, W] as PNG.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    # cv2.imwrite fails silently and knows no names beyond the system's code page
    encoded, data = cv2.imencode(".png", bgr)
    if not encoded:
        raise VastError("vast_write_failed", f"`{path}` cannot be encoded as PNG")
    with atomic_write(path, overwrite=overwrite) as part:
        part.write_bytes(data.tobytes())


def contact_sheet(images: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Images [H, W, 3] side by side, row by row, as one image.

    Args:
        images: at least one; smaller ones go to the top left of their cell.
        columns: maximum in a row.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs images and columns")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = max(len(image) for image in images), max(image.shape[1] for image in images)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet
