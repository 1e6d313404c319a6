"""Formats of outputs: a new one is a line here, and what writes it (media/write.py, pipeline/curve_files.py)."""

from pathlib import Path
from typing import Literal

from vast_cli.core.errors import VastError

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}  # suffix of a video -> ffmpeg's name of the container
Codec = Literal["h264", "h265"]
MotionFormat = Literal["motion", "csv", "json", "npz"]
MOTION_SUFFIXES: dict[str, MotionFormat] = {".motion": "motion", ".csv": "csv", ".json": "json", ".npz": "npz"}
MIN_FPS, MAX_FPS = 1, 240  # of curves


def motion_format(path: Path, requested: MotionFormat | None) -> MotionFormat:
    """The format of a file of motion or curves: what its suffix says, which must be what was requested.

    Raises:
        VastError: `vast_option_invalid`.
    """
    by_suffix = MOTION_SUFFIXES.get(path.suffix.lower())
    if by_suffix is None:
        raise VastError(
            "vast_option_invalid",
            f"`{path}` does not end in {', '.join(MOTION_SUFFIXES)}",
            hint=f"name it `{path.stem}.{requested or 'motion'}`",
        )
    if requested is not None and requested != by_suffix:
        raise VastError(
            "vast_option_invalid",
            f"`{path}` is no name of a {requested} file",
            hint=f"name it `{path.stem}.{requested}`, or leave the format to the suffix",
        )
    return by_suffix


def check_rate(fps: float) -> None:
    """Refuse frames per second that curves cannot have.

    Raises:
        VastError: `vast_option_invalid`.
    """
    if not MIN_FPS <= fps <= MAX_FPS:
        raise VastError("vast_option_invalid", f"`fps`: {fps:g} is not between {MIN_FPS} and {MAX_FPS}")
