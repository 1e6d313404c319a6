"""A few small frames of a video, without decoding all of it."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vast_cli.core.arrays import Image
from vast_cli.core.timebase import HALF_FRAME_S
from vast_cli.media.probe import bad_media, duration_of, open_media, video_stream

SHORT_S = 20.0  # longer videos have enough key frames


def thumbnails(path: Path, shares: tuple[float, ...], *, height: int) -> list[Image]:
    """Frames near these shares of a video's length, RGB [height, width, 3]: of long videos key frames.

    Neither times nor colours are exact: this is for tiny images that people glance at.

    Args:
        path: any video.
        shares: of its length, ascending.
        height: of the images, pixels.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`.
    """
    images: list[Image] = []
    try:
        with open_media(path) as container:
            stream = video_stream(container)
            if stream is None or stream.time_base is None:
                raise bad_media(path)
            length_s = duration_of(container, stream)
            pick = _decode_through if length_s <= SHORT_S else _seek_key_frames
            start_s = float((stream.start_time or 0) * stream.time_base)
            for frame in pick(container, stream, [start_s + share * length_s for share in shares]):
                width = max(2, round(frame.width * height / frame.height))
                small = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
                images.append(np.ascontiguousarray(small, np.uint8))
    except av.FFmpegError as error:
        raise bad_media(path) from error
    if not images:
        raise bad_media(path)
    return images


def _decode_through(container: InputContainer, stream: VideoStream, times: list[float]) -> Iterator[VideoFrame]:
    """One pass without the frames that no other frame refers to."""
    stream.codec_context.skip_frame = "NONREF"
    pending = list(times)
    for frame in container.decode(stream):
        while pending and (frame.time is None or frame.time >= pending[0] - HALF_FRAME_S):
            pending.pop(0)
            yield frame
        if not pending:
            return


def _seek_key_frames(container: InputContainer, stream: VideoStream, times: list[float]) -> Iterator[VideoFrame]:
    """The key frame before each time."""
    stream.codec_context.skip_frame = "NONKEY"
    assert stream.time_base is not None
    for time_s in times:
        container.seek(int(time_s / stream.time_base), stream=stream, backward=True)
        yield from (frame for frame, _ in zip(container.decode(stream), range(1), strict=False))
