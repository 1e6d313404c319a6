"""Three tiny pictures of a video, kept in the state folder so that the next report need not look again."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vast_cli.core import files
from vast_cli.core.errors import VastError

log = logging.getLogger(__name__)

SHARES: Final = (0.2, 0.5, 0.8)
HEIGHT: Final = 54  # pixels
QUALITY: Final = 70
WORST: Final = 200
MAX_BYTES: Final = 8 << 20  # of all strips in a page
MAX_S: Final = 15.0  # for new ones: a report must not hold up the end of a batch


def strips(rows: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, bytes]:
    """id -> JPEG, of the worst jobs that have a video and of those with gates.

    Args:
        rows: jobs of the document, worst first.
        folder: where they are kept.
    """
    shown = [row for row in rows if row["made"]]
    chosen = shown[:WORST] + [row for row in shown[WORST:] if row["gates"]]
    found: dict[str, bytes] = {}
    total, until = 0, time.monotonic() + MAX_S
    for row in chosen:
        data = _strip(Path(row["output"]), folder / f"{row['id']}.jpg", make=time.monotonic() < until)
        if data is None:
            continue
        total += len(data)
        if total > MAX_BYTES:
            break
        found[row["id"]] = data
    return found


def _strip(video: Path, kept: Path, *, make: bool) -> bytes | None:
    try:
        if kept.is_file() and kept.stat().st_mtime >= video.stat().st_mtime:
            return kept.read_bytes()
        if not make:
            return None
        data = _draw(video)
        with files.atomic_write(kept) as part:
            part.write_bytes(data)
        return data
    except (VastError, OSError) as error:  # the page says of a file that is gone that it is
        log.info("no pictures of `%s`: %s", video, error)
        return None


def _draw(video: Path) -> bytes:
    import cv2
    import numpy as np

    from vast_cli.media.thumbnails import thumbnails

    strip = np.concatenate(thumbnails(video, SHARES, height=HEIGHT), axis=1)
    _, data = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(data)
