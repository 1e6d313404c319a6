"""Formats of output videos: a new one is a line here, and its encoder settings in media/write.py."""

from typing import Literal

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}  # suffix -> ffmpeg's name of the container
Codec = Literal["h264", "h265"]
