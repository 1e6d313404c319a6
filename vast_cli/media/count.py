"""Count the frames of a video by decoding all of it."""

import itertools
from pathlib import Path

import av

from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FRAME_S
from vast_cli.media.probe import bad_media, open_media, video_stream

TOLERANCE_S = 0.001


def count_frames(path: Path) -> tuple[int, int]:
    """Count the frames that decode, and how many of them do not come exactly 1/25 s after the one before.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`.
    """
    times: list[float] = []
    n = 0
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise bad_media(path)
        try:
            for frame in container.decode(stream):
                n += 1
                if frame.time is not None:
                    times.append(frame.time)
        except av.FFmpegError as error:
            if not n:
                raise VastError("vast_bad_media", f"`{path}` does not decode") from error
    irregular = sum(abs(b - a - FRAME_S) > TOLERANCE_S for a, b in itertools.pairwise(times))
    return n, irregular + n - len(times)
