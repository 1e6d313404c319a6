"""Strips of three small frames of each video, kept in the state folder for the next report."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vast_cli.core import files
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

SHARES: Final = (0.2, 0.5, 0.8)  # of the length of the video
HEIGHT: Final = 54  # pixels
QUALITY: Final = 70
MAX_WORST: Final = 200  # jobs with a strip, from the worst on
MAX_BYTES: Final = 8 << 20  # of all strips in a page
MAX_S: Final = 15.0  # for new strips: a report must not hold up the end of a batch


def strips(rows: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, bytes]:
    """Strips of the worst jobs that have a video, and of those with gates.

    Args:
        rows: jobs of the document, worst first.
        folder: folder of the strips.

    Returns:
        id -> JPEG.
    """
    with_video = [row for row in rows if row["made"]]
    chosen = with_video[:MAX_WORST] + [row for row in with_video[MAX_WORST:] if row["gates"]]
    images: dict[str, bytes] = {}
    total, until = 0, time.monotonic() + MAX_S
    for row in chosen:
        data = _strip(Path(row["output"]), folder / f"{row['id']}.jpg", render=time.monotonic() < until)
        if data is None:
            continue
        total += len(data)
        if total > MAX_BYTES:
            break
        images[row["id"]] = data
    return images


def _strip(video: Path, cached: Path, *, render: bool) -> bytes | None:
    try:
        if cached.is_file() and cached.stat().st_mtime >= video.stat().st_mtime:
            return cached.read_bytes()
        if not render:
            return None
        data = _encode_strip(video)
        with files.atomic_write(cached) as part:
            part.write_bytes(data)
        return data
    except (VastError, OSError) as error:  # the page itself says that a video is gone
        log.info("no frames of `%s`: %s", video, error)
        return None


def _encode_strip(video: Path) -> bytes:
    import cv2
    import numpy as np

    from vast_cli.media.thumbnails import thumbnails

    strip = np.concatenate(thumbnails(video, SHARES, height=HEIGHT), axis=1)
    _, data = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(data)
