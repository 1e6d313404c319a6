"""A few pictures of a video, without decoding all of it."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vast_cli.media.probe import bad_media, duration_of, open_media, video_stream

Image = NDArray[np.uint8]

MAX_DECODED = 130  # pictures after a key picture


def pictures_at(path: Path, shares: tuple[float, ...], *, height: int) -> list[Image]:
    """Pictures near the given shares of a video's length, RGB [height, width, 3]: of long videos the key pictures.

    Colours are not exact: this is for tiny pictures that people glance at.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`.
    """
    found: list[Image] = []
    try:
        with open_media(path) as container:
            stream = video_stream(container)
            if stream is None or stream.time_base is None:
                raise bad_media(path)
            length_s = duration_of(container, stream)
            for share in shares:
                at_s = (stream.start_time or 0) * float(stream.time_base) + share * length_s
                container.seek(int(at_s / stream.time_base), stream=stream, backward=True)
                best = None
                for number, frame in enumerate(container.decode(stream)):
                    best = frame
                    if number >= MAX_DECODED or frame.time is None or frame.time >= at_s:
                        break
                if best is None:
                    raise bad_media(path)
                width = max(2, round(best.width * height / best.height))
                small = best.reformat(width=width, height=height, format="rgb24").to_ndarray()
                found.append(np.ascontiguousarray(small, np.uint8))
    except av.FFmpegError as error:
        raise bad_media(path) from error
    return found
