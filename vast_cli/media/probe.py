"""What a media file holds, from its headers and its first frame; the only way to open a file for decoding."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vast_cli.core.errors import VastError
from vast_cli.core.files import check_input
from vast_cli.media.ffmpeg import FORMATS, safe_path

MAX_SIDE = 8192  # px
MAX_HOURS = 24
MAX_DURATION_S = MAX_HOURS * 3600.0
MAX_STREAMS = 100
MAX_ASPECT = 4  # of one pixel; anything beyond is a broken header
PQ, HLG = 16, 18  # transfer characteristics, ITU-T H.273
MICROSECOND = Fraction(1, 1_000_000)


class Orientation(NamedTuple):
    """How a decoded frame is turned upright: transpose, then mirror left-right, then mirror up-down."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool


UPRIGHT = Orientation(transpose=False, mirror_x=False, mirror_y=False)


@dataclass(frozen=True)
class MediaInfo:
    """What is in a media file. Sizes are those of the upright frame with square pixels, as `VideoReader` yields it.

    Colour codes are those of ITU-T H.273 (1 is bt709, 2 is unspecified; matrix 5 and 6 are bt601, 9 is bt2020;
    transfer 16 is PQ, 18 is HLG; range 1 is limited, 2 is full, 0 is unspecified).
    """

    path: Path
    container: str
    duration_s: float  # of the video if there is one, else of the audio; 0 if the file does not say
    has_video: bool
    has_audio: bool
    width: int
    height: int
    rotation: int  # degrees clockwise that turn the stored frame upright
    fps: float  # mean rate, 0 if unknown
    video_codec: str | None
    pixel_format: str | None
    color_primaries: int
    color_transfer: int
    color_matrix: int
    color_range: int
    audio_codec: str | None
    sample_rate: int
    channels: int

    @property
    def is_hdr(self) -> bool:
        """Whether frames need tone mapping."""
        return self.color_transfer in (PQ, HLG)


def open_media(path: Path) -> InputContainer:
    """Open `path` for decoding: files only, no playlists.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_bad_media`.
    """
    check_input(path)
    if path.stat().st_size == 0:
        raise VastError("vast_bad_media", f"`{path}` is empty")
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_streams": str(MAX_STREAMS)}
    try:
        return av.open(safe_path(path), "r", container_options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise bad_media(path, error) from error


def bad_media(path: Path, error: Exception | None = None) -> VastError:
    """The error for a file that cannot be decoded."""
    if isinstance(error, av.FFmpegError) and error.strerror:
        return VastError("vast_bad_media", f"`{path}` cannot be decoded: {error.strerror.lower()}")
    return VastError("vast_bad_media", f"`{path}` cannot be decoded")


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream; cover art is none."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            return stream
    return None


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream with a decoder."""
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.codec_context.sample_rate > 0:
            return stream
    return None


def check_bounds(path: Path, stream: VideoStream) -> None:
    """Refuse frames beyond the bounds before memory is allocated for them.

    Raises:
        VastError: `vast_media_too_large`, `vast_bad_media`.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    if width <= 0 or height <= 0:
        raise VastError("vast_bad_media", f"`{path}` does not say how large its frames are")
    if max(width, height) > MAX_SIDE:
        message = f"`{path}` is {width} x {height}; the limit is {MAX_SIDE} pixels a side"
        raise VastError("vast_media_too_large", message, hint="scale it down first")


def check_duration(path: Path, duration_s: float) -> None:
    """Refuse absurd durations.

    Raises:
        VastError: `vast_media_too_large`.
    """
    if duration_s > MAX_DURATION_S:
        message = f"`{path}` lasts {duration_s / 3600:.1f} h; the limit is {MAX_HOURS} h"
        raise VastError("vast_media_too_large", message, hint="cut it first")


def endless(path: Path) -> VastError:
    """The error for a file that decodes on and on, whatever its header says."""
    return VastError("vast_media_too_large", f"`{path}` runs on beyond {MAX_HOURS} h")


def duration_of(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """Duration of a stream in seconds by its headers; 0 if they do not say."""
    if stream.duration is not None and stream.time_base is not None:
        return max(float(stream.duration * stream.time_base), 0.0)
    return max(float(container.duration * MICROSECOND), 0.0) if container.duration is not None else 0.0


def rate_of(stream: VideoStream) -> Fraction:
    """Mean frame rate in the header; 0 if it does not say."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and rate > 0:
            return rate
    return Fraction(0)


def sample_aspect(stream: VideoStream) -> float:
    """Width over height of one stored pixel; 1 if unknown or absurd."""
    ratio = float(stream.codec_context.sample_aspect_ratio or 0)
    return ratio if 1 / MAX_ASPECT <= ratio <= MAX_ASPECT else 1.0


def orientation(frame: VideoFrame) -> Orientation:
    """How to turn `frame` upright, from its display matrix; other angles are rounded to quarter turns."""
    side_data: Any = frame.side_data  # typed as a mapping, iterates over its values
    for data in side_data:
        if data.type == SideDataType.DISPLAYMATRIX and data.buffer_size >= 36:
            # (x, y) of the stored frame goes to (a x + c y, b x + d y), 16.16 fixed point
            matrix = np.frombuffer(bytes(data), dtype="<i4", count=9)
            a, b, c, d = int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4])
            if abs(b) > abs(a):
                return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
            return Orientation(transpose=False, mirror_x=a < 0, mirror_y=d < 0)
    return UPRIGHT


def _degrees(turn: Orientation) -> int:
    if turn.transpose:
        return 90 if turn.mirror_x else 270
    return 180 if turn.mirror_x and turn.mirror_y else 0


def upright_size(width: int, height: int, *, aspect: float, transpose: bool) -> tuple[int, int]:
    """Width and height of the upright frame with square pixels; the side that has to change grows."""
    if aspect > 1:
        width = round(width * aspect)
    elif aspect < 1:
        height = round(height / aspect)
    return (height, width) if transpose else (width, height)


def fit_size(width: int, height: int, *, max_side: int | None) -> tuple[int, int]:
    """The size scaled down so that no side is longer than `max_side`."""
    scale = min(1.0, (max_side or max(width, height)) / max(width, height))
    return max(round(width * scale), 1), max(round(height * scale), 1)


class FirstFrame(NamedTuple):
    """The first frame of a video and how it is shown."""

    frame: VideoFrame
    turn: Orientation
    width: int  # upright, square pixels
    height: int


def first_frame(container: InputContainer, stream: VideoStream, path: Path) -> FirstFrame:
    """Decode the first frame of a video.

    Raises:
        VastError: `vast_bad_media` if none decodes.
    """
    try:
        frame = _first_decodable(container, stream)
    except av.FFmpegError as error:
        raise bad_media(path, error) from error
    if frame is None:
        raise VastError("vast_bad_media", f"no frame of `{path}` can be decoded")
    turn = orientation(frame)
    size = upright_size(frame.width, frame.height, aspect=sample_aspect(stream), transpose=turn.transpose)
    return FirstFrame(frame, turn, *size)


def _first_decodable(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue  # a broken frame before the first whole one
        for frame in frames:
            if isinstance(frame, VideoFrame):
                return frame
    return None


def probe(path: Path) -> MediaInfo:
    """Read what a media file holds; its first frame is decoded, so that files that cannot be read are refused.

    Raises:
        VastError: `vast_input_missing`, `vast_input_unreadable`, `vast_bad_media`, `vast_media_too_large`.
    """
    with open_media(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        if video is None and audio is None:
            raise VastError("vast_bad_media", f"`{path}` holds neither video nor audio")
        main: VideoStream | AudioStream | None = video or audio
        assert main is not None
        duration_s = duration_of(container, main)
        check_duration(path, duration_s)
        width = height = rotation = 0
        primaries = transfer = matrix = 2
        color_range = 0
        if video is not None:
            check_bounds(path, video)
            frame, turn, width, height = first_frame(container, video, path)
            rotation = _degrees(turn)
            primaries, transfer = frame.color_primaries, frame.color_trc
            matrix, color_range = frame.colorspace, frame.color_range
        return MediaInfo(
            path=path,
            container=container.format.name,
            duration_s=duration_s if math.isfinite(duration_s) else 0.0,
            has_video=video is not None,
            has_audio=audio is not None,
            width=width,
            height=height,
            rotation=rotation,
            fps=float(rate_of(video)) if video is not None else 0.0,
            video_codec=video.codec_context.name if video is not None else None,
            pixel_format=video.codec_context.pix_fmt if video is not None else None,
            color_primaries=int(primaries),
            color_transfer=int(transfer),
            color_matrix=int(matrix),
            color_range=int(color_range),
            audio_codec=audio.codec_context.name if audio is not None else None,
            sample_rate=audio.codec_context.sample_rate if audio is not None else 0,
            channels=len(audio.codec_context.layout.channels) if audio is not None else 0,
        )
