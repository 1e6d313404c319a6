"""Single pictures: PNG files and contact sheets. OpenCV's order of channels ends here."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.errors import VastError
from vast_cli.core.files import atomic_write

GAP = 4  # px between the pictures of a sheet
GROUND = 255  # its colour


def write_png(path: Path, frame: NDArray[np.uint8], *, overwrite: bool = True) -> None:
    """Write RGB [H, W, 3] or grey [H, W] as PNG.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_disk_full`, `vast_write_failed`.
    """
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) if frame.ndim == 3 else frame
    # encoded here and written by us: cv2.imwrite fails in silence and knows no names beyond the system's code page
    whole, data = cv2.imencode(".png", image)
    if not whole:
        raise VastError("vast_write_failed", f"`{path}` cannot be encoded as PNG")
    with atomic_write(path, overwrite=overwrite) as part:
        part.write_bytes(data.tobytes())


def contact_sheet(frames: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Pictures [H, W, 3] side by side, row by row, as one picture.

    Args:
        frames: at least one; smaller ones are set into the top left of their cell.
        columns: at most so many in a row.
    """
    if not frames or columns < 1:
        raise ValueError("a contact sheet needs pictures and columns")
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    height, width = max(len(frame) for frame in frames), max(frame.shape[1] for frame in frames)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), GROUND, np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return sheet
