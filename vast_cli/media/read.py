"""Any video as upright RGB frames at exactly 25 a second, resampled by timestamp, in constant memory."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS
from vast_cli.media.color import Converter
from vast_cli.media.decode import SLACK_S, StreamDecoder
from vast_cli.media.probe import (
    MAX_DURATION_S,
    MAX_SIDE,
    check_bounds,
    check_duration,
    duration_of,
    endless,
    first_frame,
    fit_size,
    open_media,
    rate_of,
    video_stream,
)

JUMP_BACK = Fraction(1)  # s; a clock that falls by more was reset (joined streams), by less it only jitters
DEFAULT_RATE = Fraction(FPS)  # of files that have neither a frame rate nor timestamps


class VideoReader:
    """Stream a video as RGB uint8 [height, width, 3] at exactly `fps`.

    Frame k is the source frame *nearest in time* to the instant k / fps after the first one's timestamp (of two equally
    near the earlier). Nearest, not last shown: it tolerates timestamps that jitter by less than half a frame, and it is
    unbiased, where last-shown lags by half a source frame. The number of frames is the duration times `fps`, rounded;
    a source at 25 fps comes out frame for frame.

    May be iterated more than once; each pass opens the file anew.

    Args:
        path: any video.
        fps: frames a second.
        max_side: scale down so that no side is longer.

    Attributes:
        width: of the frames, upright, square pixels.
        height: likewise.
        start_s: container time of the first frame; `read_audio(path, start_s=...)` reads the audio from there on.
        duration_s: by the header, 0 if it does not say.
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
            frame, self._turn, width, height = first_frame(container, stream, path)
            self.width, self.height = fit_size(width, height, max_side=min(max_side or MAX_SIDE, MAX_SIDE))
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
        """Close what unfinished passes left open."""
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
                    yield image.copy()  # the caller may have drawn on the first
                count += 1
        finally:
            if container in self._open:
                self._open.remove(container)
                container.close()
        self.n_frames = count

    def _timed(self, container: InputContainer) -> Iterator[tuple[Fraction, Fraction, VideoFrame]]:
        """(time after the first frame, duration, frame) with rising times."""
        stream = _need_video(container, self.path)
        period = 1 / (rate_of(stream) or DEFAULT_RATE)
        header_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        base: Fraction | None = None
        last: Fraction | None = None
        end = Fraction(0)
        for frame in self._decoded(container, stream):
            if max(frame.width, frame.height) > MAX_SIDE:
                raise VastError("vast_media_too_large", f"a frame of `{self.path}` is {frame.width} x {frame.height}")
            base_time = frame.time_base or stream.time_base
            stamp = frame.pts * base_time if frame.pts is not None and base_time else None
            if stamp is None:
                stamp = Fraction(0) if base is None or last is None else base + last + period
            if base is None:
                base = stamp
            time = stamp - base
            if last is not None and time <= last:
                if last - time < JUMP_BACK:
                    continue  # out of order or a repeat: no instant is left for it
                base, time = stamp - last - period, last + period
            span = frame.duration * base_time if frame.duration and base_time else period
            last, end = time, time + span
            yield time, span, frame
        if header_s - float(end) > SLACK_S:
            self.truncated = True

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Every frame that can be decoded."""
        stream.thread_type = "AUTO"
        decoder = StreamDecoder(container, stream, self.path)
        for frame in decoder:
            if isinstance(frame, VideoFrame):
                yield frame
        self.truncated = self.truncated or decoder.broke_off or decoder.last_broken


def _need_video(container: InputContainer, path: Path) -> VideoStream:
    stream = video_stream(container)
    if stream is None:
        raise VastError("vast_bad_media", f"`{path}` holds no video", hint="give a video file")
    check_bounds(path, stream)
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE * MAX_SIDE)}
    return stream


def _nearest(timed: Iterator[tuple[Fraction, Fraction, VideoFrame]], *, fps: int, path: Path) -> Iterator[VideoFrame]:
    """Frames at the instants k / fps: round(duration * fps) of them, at least one if there is any."""
    held: VideoFrame | None = None  # the frame before, with its time and end
    held_time = end = Fraction(0)
    pending: VideoFrame | None = None  # not yielded until we know that it lies within the duration
    count = 0  # yielded and pending
    for time, span, frame in timed:
        if float(time) > MAX_DURATION_S:
            raise endless(path)
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
