"""Any video as upright RGB pictures at exactly 25 a second, resampled by timestamp, in constant memory."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS
from vast_cli.media.color import Converter
from vast_cli.media.probe import (
    MAX_DURATION_S,
    MAX_SIDE,
    Orientation,
    bad_media,
    check_bounds,
    check_duration,
    duration_of,
    first_frame,
    fit_size,
    open_media,
    orientation,
    rate_of,
    sample_aspect,
    upright_size,
    video_stream,
)

log = logging.getLogger(__name__)

JUMP_BACK = Fraction(1)  # s; a clock that falls by more was reset (joined streams), by less it only stumbled
SLACK_S = 0.25  # a file that ends this much before its header says was cut off
DEFAULT_RATE = Fraction(25)  # of files that neither count nor date their pictures


class VideoReader:
    """Stream a video as RGB uint8 [height, width, 3] at exactly `fps`.

    Picture k is the one *nearest in time* to the instant k / fps after the first picture's timestamp (of two equally
    near the earlier). Nearest, not last shown: it forgives timestamps that tremble by less than half a frame, and it is
    unbiased, where last-shown lags by half a source frame. The number of pictures is the duration times `fps`, rounded;
    a source at 25 fps comes out picture for picture.

    May be iterated more than once; each pass opens the file anew.

    Args:
        path: any video.
        fps: pictures a second.
        max_side: scale down so that no side is longer.

    Attributes:
        width: of the pictures, upright, square pixels.
        height: likewise.
        start_s: container time of the first picture; `read_audio(path, start_s=...)` gives the sound from there on.
        duration_s: as the header says, 0 if it does not.
        n_frames: estimate from the header; exact after a pass.
        truncated: after a pass, whether the file broke off or could not be decoded to its end.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_bad_media`, `vast_media_too_large`.
    """

    def __init__(self, path: Path, fps: int = FPS, *, max_side: int | None = None) -> None:
        self.path = path
        self.fps = fps
        self.truncated = False
        self._open: list[InputContainer] = []
        with open_media(path) as container:
            stream = _need_video(container, path)
            try:
                frame = first_frame(container, stream)
            except av.FFmpegError as error:
                raise bad_media(path, error) from error
            if frame is None:
                raise VastError("vast_bad_media", f"no picture of `{path}` can be decoded")
            self._turn: Orientation = orientation(frame)
            upright = upright_size(
                frame.width, frame.height, aspect=sample_aspect(stream), transpose=self._turn.transpose
            )
            self.width, self.height = fit_size(*upright, max_side=min(max_side or MAX_SIDE, MAX_SIDE))
            self.start_s = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else 0.0
            self.duration_s = duration_of(container, stream)
            check_duration(path, self.duration_s)
            self.n_frames = max(round(self.duration_s * fps), 1)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what passes have left open."""
        while self._open:
            self._open.pop().close()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        self.truncated = False
        container = open_media(self.path)
        self._open.append(container)
        count = 0
        convert = Converter(width=self.width, height=self.height, turn=self._turn)
        try:
            shown: VideoFrame | None = None
            image: NDArray[np.uint8] | None = None
            for frame in _nearest(self._timed(container), fps=self.fps, path=self.path):
                if frame is not shown or image is None:
                    image = convert(frame)
                    shown = frame
                    yield image
                else:
                    yield image.copy()  # whoever got the first may have drawn on it
                count += 1
        finally:
            if container in self._open:
                self._open.remove(container)
                container.close()
        self.n_frames = count

    def _timed(self, container: InputContainer) -> Iterator[tuple[Fraction, Fraction, VideoFrame]]:
        """(time after the first picture, duration, picture) with rising times."""
        stream = _need_video(container, self.path)
        period = 1 / (rate_of(stream) or DEFAULT_RATE)
        header_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        base: Fraction | None = None
        last: Fraction | None = None
        end = Fraction(0)
        for frame in self._decoded(container, stream):
            if max(frame.width, frame.height) > MAX_SIDE:
                raise VastError("vast_media_too_large", f"a picture of `{self.path}` is {frame.width} x {frame.height}")
            base_time = frame.time_base or stream.time_base
            stamp = frame.pts * base_time if frame.pts is not None and base_time else None
            if stamp is None:
                stamp = Fraction(0) if base is None or last is None else base + last + period
            if base is None:
                base = stamp
            time = stamp - base
            if last is not None and time <= last:
                if last - time < JUMP_BACK:
                    continue  # out of order or twice the same: there is no instant left for it
                base, time = stamp - last - period, last + period
            span = frame.duration * base_time if frame.duration and base_time else period
            last, end = time, time + span
            yield time, span, frame
        if header_s - float(end) > SLACK_S:
            self.truncated = True

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Whatever can be decoded; packets that cannot are left out."""
        stream.thread_type = "AUTO"
        broken_last = False
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                log.debug("`%s` breaks off: %s", self.path, error)
                self.truncated = True
                packet = None
            try:
                frames = packet.decode() if packet is not None else stream.codec_context.decode(None)
                broken_last = broken_last and not frames
            except av.EOFError:
                frames = []
            except av.FFmpegError as error:
                log.debug("a packet of `%s` is broken: %s", self.path, error)
                frames, broken_last = [], True
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    yield frame
            if packet is None or (packet.dts is None and packet.size == 0):  # the flushing packet is the last
                break
        self.truncated = self.truncated or broken_last


def _need_video(container: InputContainer, path: Path) -> VideoStream:
    stream = video_stream(container)
    if stream is None:
        raise VastError("vast_bad_media", f"`{path}` holds no moving picture", hint="give a video")
    check_bounds(path, stream)
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
    return stream


def _nearest(timed: Iterator[tuple[Fraction, Fraction, VideoFrame]], *, fps: int, path: Path) -> Iterator[VideoFrame]:
    """Pictures at the instants k / fps; round(duration * fps) of them, at least one if there is any."""
    held: VideoFrame | None = None  # picture before, with its time and end
    held_time = end = Fraction(0)
    pending: VideoFrame | None = None  # not given out until we know that it lies inside the duration
    count = 0  # given out and pending
    for time, span, frame in timed:
        if float(time) > MAX_DURATION_S:
            raise VastError("vast_media_too_large", f"`{path}` runs on beyond {MAX_DURATION_S / 3600:.0f} h")
        while held is not None and 2 * count <= (held_time + time) * fps:
            if pending is not None:
                yield pending
            pending = held
            count += 1
        held, held_time, end = frame, time, time + span
    if held is None:
        return
    total = max(int(end * fps + Fraction(1, 2)), 1)
    if pending is not None and count <= total:
        yield pending
    for _ in range(count, total):
        yield held
