"""Pictures and sound to an MP4 that is whole, checked and in sync, or to nothing at all."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import av
import ffmpeg
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vast_cli.errors import VastError
from vast_cli.files import atomic_write, part_path
from vast_cli.media.ffmpeg import PROTOCOLS, Process, command, safe_path
from vast_cli.media.probe import MAX_SIDE, audio_stream, bad_media, duration_of, open_media, video_stream
from vast_cli.media.soundtrack import BITEXACT, HALF_FRAME_S, ROUNDING_S, Soundtrack, make_soundtrack, timescale
from vast_cli.timebase import FPS

log = logging.getLogger(__name__)

Codec = Literal["h264", "h265"]
THREADS = 4  # fixed, never the number of cores: the same pictures give the same bytes on every machine
FINISH_S = 900.0  # the encoder's last pictures, and moving the index of a large file to its front
VIDEO_TIMESCALE = 12_800
SUFFIXES = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}
_BT709 = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
_CODECS: dict[Codec, dict[str, Any]] = {
    "h264": {"c:v": "libx264", "threads:v": THREADS},
    "h265": {
        "c:v": "libx265",
        "tag:v": "hvc1",
        "x265-params": f"pools={THREADS}:frame-threads=2:log-level=error:info=0",
    },
}


class VideoWriter:
    """Stream RGB pictures at 25 fps into an H.264 (or H.265) MP4, with the source's sound.

    A context manager. Leaving it in peace ends the encoder, checks the part file (decodes, every picture there, picture
    and sound end within half a frame of each other), and gives it its name. Leaving it by any exception kills the
    encoder and leaves nothing behind. Pictures are bt709, limited range, and tagged so. Odd sizes grow by one row or
    column, a copy of their last, because 4:2:0 needs even ones. The same input gives the same bytes.

    Args:
        path: `.mp4`, `.m4v` or `.mov`.
        width: of the pictures.
        height: of the pictures.
        audio: file whose sound goes in: copied where MP4 takes it, else AAC at its own rate. Silent if None.
        n_frames: pictures that will come; checked at the end if given.
        n_samples: length of the sound at 16 kHz as `read_audio` counted it; counted here if not given.
        overwrite: replace an existing file.
        crf: quality of the encoder, lower is better.
        preset: speed of the encoder.
        codec: `h264` plays everywhere; `h265` is smaller.
        metadata: written into the file, any keys.

    Attributes:
        frames_written: pictures so far.
        soundtrack: how the sound went in, after entering; None without sound.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_option_invalid`, `vast_no_ffmpeg`,
            `vast_encode_failed`, `vast_disk_full`, `vast_timeout`, and those of reading `audio`.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        audio: Path | None = None,
        n_frames: int | None = None,
        n_samples: int | None = None,
        overwrite: bool = False,
        crf: int = 18,
        preset: str = "medium",
        codec: Codec = "h264",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise VastError("vast_option_invalid", f"`{path}` does not end in {', '.join(SUFFIXES)}")
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise VastError("vast_option_invalid", f"a picture of {width} x {height}; the limit is {MAX_SIDE} a side")
        if codec not in _CODECS:
            raise VastError("vast_option_invalid", f"no codec `{codec}`; there are {', '.join(_CODECS)}")
        self.path = path
        self.width, self.height = width, height
        self.audio, self.n_samples = audio, n_samples
        self.n_frames = n_frames
        self.overwrite = overwrite
        self.crf, self.preset, self.codec = crf, preset, codec
        self.metadata = dict(metadata or {})
        self.frames_written = 0
        self.soundtrack: Soundtrack | None = None
        self._pad = ((0, height % 2), (0, width % 2), (0, 0))
        self._stack: ExitStack | None = None
        self._part: Path | None = None
        self._process: Process | None = None

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            self._part = stack.enter_context(atomic_write(self.path, overwrite=self.overwrite))
            if self.audio is not None:
                sound = part_path(self.path.with_suffix(".mp4"))
                stack.callback(sound.unlink, missing_ok=True)
                self.soundtrack = make_soundtrack(self.audio, sound, target=self.path, n_samples=self.n_samples)
                self._check_lengths(self.n_frames)
            self._process = Process(self._command(self._part), target=self.path)
            self._stack = stack.pop_all()
        return self

    def _command(self, part: Path) -> list[str]:
        width, height = self.width + self.width % 2, self.height + self.height % 2
        given = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "r": FPS}
        frames = ffmpeg.input("pipe:", **given, protocol_whitelist="pipe").video
        # tags alone change nothing in the values: without `out_color_matrix` swscale would make bt601
        exact = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
        frames = frames.filter("scale", in_range="full", out_range="tv", out_color_matrix="bt709", flags=exact)
        frames = frames.filter("format", "yuv420p")
        tags = {key.replace("color_range", "range"): value for key, value in _BT709.items()}
        streams = [frames.filter("setparams", **tags)]
        options: dict[str, Any] = {
            "format": SUFFIXES[self.path.suffix.lower()],
            "crf": self.crf,
            "preset": self.preset,
            "movflags": "+faststart+use_metadata_tags",
            "video_track_timescale": VIDEO_TIMESCALE,
            "movie_timescale": VIDEO_TIMESCALE,
            "map_metadata": -1,
            **_BT709,
            **BITEXACT,
            **_CODECS[self.codec],
        }
        if self.soundtrack is not None:
            streams.append(ffmpeg.input(safe_path(self.soundtrack.path), protocol_whitelist=PROTOCOLS).audio)
            options |= {"c:a": "copy", "movie_timescale": timescale(self.soundtrack.sample_rate)}
        return command(ffmpeg.output(*streams, safe_path(part), **options), metadata=self.metadata)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a picture, [height, width, 3] RGB.

        Raises:
            VastError: `vast_encode_failed`, `vast_disk_full`.
        """
        assert self._process is not None, "VideoWriter is a context manager"
        assert frame.shape == (self.height, self.width, 3), f"frame {frame.shape}, want {self.height, self.width, 3}"
        assert frame.dtype == np.uint8, f"frame of {frame.dtype}, want uint8"
        if self.height % 2 or self.width % 2:
            frame = np.pad(frame, self._pad, mode="edge")
        self._process.write(np.ascontiguousarray(frame).data.cast("B"))
        self.frames_written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stack is not None and self._process is not None and self._part is not None
        if error is not None:
            self._abandon()
            return
        try:
            self._finish(self._process, self._part)
        except BaseException:
            self._abandon()
            raise
        self._stack.close()  # fsync and rename

    def _finish(self, process: Process, part: Path) -> None:
        if self.frames_written == 0:
            raise VastError("vast_encode_failed", f"no picture came for `{self.path}`")
        process.finish(timeout_s=FINISH_S)
        if self.n_frames is not None and self.frames_written != self.n_frames:
            message = f"{self.frames_written} pictures came for `{self.path}`, {self.n_frames} were announced"
            raise VastError("vast_encode_failed", message)
        self._check_lengths(self.frames_written)
        try:
            self._check(part)
        except (av.FFmpegError, VastError) as error:
            if isinstance(error, VastError) and error.code == "vast_encode_failed":
                raise
            raise VastError("vast_encode_failed", f"what was written for `{self.path}` does not decode") from error

    def _abandon(self) -> None:
        assert self._stack is not None and self._process is not None
        self._process.kill()
        try:  # the part file goes; the exception on its way is not atomic_write's business, an OSError least of all
            self._stack.__exit__(_AbandonedError, _AbandonedError(), None)
        except _AbandonedError:
            log.debug("`%s` was given up after %d pictures", self.path, self.frames_written)

    def _check_lengths(self, n_frames: int | None) -> None:
        if self.soundtrack is None or n_frames is None:
            return
        apart = abs(self.soundtrack.duration_s - n_frames / FPS)
        if apart > HALF_FRAME_S + ROUNDING_S:
            message = f"picture and sound of `{self.path}` would end {apart:.3f} s apart"
            hint = (
                f"{self.soundtrack.duration_s:.3f} s of sound need {round(self.soundtrack.duration_s * FPS)} pictures"
            )
            raise VastError("vast_encode_failed", message, hint=hint)

    def _check(self, part: Path) -> None:
        """The file as a player sees it: every packet there, first and last pictures decode, ends agree."""
        with open_media(part) as container:
            video, audio = video_stream(container), audio_stream(container)
            if video is None or (self.soundtrack is not None and audio is None):
                raise bad_media(part)
            wanted_s = self.frames_written / FPS
            video_s = duration_of(container, video)
            n_packets, n_decoded = 0, 0
            tail: list[
                Any
            ] = []  # packets since the last key picture; decoding all would take as long as encoding again
            for packet in container.demux(video):
                if packet.size == 0:
                    continue
                n_packets += 1
                if packet.is_keyframe:
                    if n_packets > 1 and n_decoded == 0:
                        n_decoded = _decode(video.codec_context, tail)  # the first group of pictures
                    tail = []
                tail.append(packet)
            if n_packets != self.frames_written or abs(video_s - wanted_s) > ROUNDING_S:
                message = f"`{self.path}`: {n_packets} pictures, {video_s:.3f} s; it should be {self.frames_written}"
                raise VastError("vast_encode_failed", message)
            video.codec_context.flush_buffers()
            if _decode(video.codec_context, tail) != len(tail):
                raise VastError("vast_encode_failed", f"the last pictures of `{self.path}` do not decode")
            if audio is not None and self.soundtrack is not None:
                audio_s = duration_of(container, audio)
                if abs(audio_s - self.soundtrack.duration_s) > ROUNDING_S:
                    message = (
                        f"the sound of `{self.path}` lasts {audio_s:.3f} s, not {self.soundtrack.duration_s:.3f} s"
                    )
                    raise VastError("vast_encode_failed", message)


def _decode(context: Any, packets: list[Any]) -> int:
    """How many pictures come out of `packets`."""
    decoded = 0
    for packet in [*packets, None]:
        decoded += sum(isinstance(frame, VideoFrame) for frame in context.decode(packet))
    context.flush_buffers()
    return decoded


class _AbandonedError(Exception):
    """Tells `atomic_write` to clean up, and nothing else."""
