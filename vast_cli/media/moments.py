"""A few pictures of a video, without decoding all of it."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vast_cli.core.arrays import Image
from vast_cli.media.probe import bad_media, duration_of, open_media, video_stream

SHORT_S = 20.0  # longer videos have key pictures enough


def pictures_at(path: Path, shares: tuple[float, ...], *, height: int) -> list[Image]:
    """Pictures near the given shares of a video's length, RGB [height, width, 3]: of long videos the key pictures.

    Neither times nor colours are exact: this is for tiny pictures that people glance at.

    Args:
        path: any video.
        shares: of its length, ascending.
        height: of the pictures, pixels.

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
            pick = _short if length_s <= SHORT_S else _long
            start_s = float((stream.start_time or 0) * stream.time_base)
            for frame in pick(container, stream, [start_s + share * length_s for share in shares]):
                width = max(2, round(frame.width * height / frame.height))
                small = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
                found.append(np.ascontiguousarray(small, np.uint8))
    except av.FFmpegError as error:
        raise bad_media(path) from error
    if not found:
        raise bad_media(path)
    return found


def _short(container: InputContainer, stream: VideoStream, times: list[float]) -> Iterator[VideoFrame]:
    """In one pass that leaves out what no other picture needs."""
    stream.codec_context.skip_frame = "NONREF"
    wanted = list(times)
    for frame in container.decode(stream):
        while wanted and (frame.time is None or frame.time >= wanted[0] - 0.02):
            wanted.pop(0)
            yield frame
        if not wanted:
            return


def _long(container: InputContainer, stream: VideoStream, times: list[float]) -> Iterator[VideoFrame]:
    stream.codec_context.skip_frame = "NONKEY"
    assert stream.time_base is not None
    for time_s in times:
        container.seek(int(time_s / stream.time_base), stream=stream, backward=True)
        yield from (frame for frame, _ in zip(container.decode(stream), range(1), strict=False))
