"""Frames and audio to an MP4 that is whole, checked and in sync, or to nothing at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from vast_cli.core.errors import VastError
from vast_cli.core.formats import Codec
from vast_cli.core.timebase import FPS
from vast_cli.media.audio_track import Soundtrack
from vast_cli.media.ffmpeg import PROTOCOLS, FfmpegProcess, command, safe_path
from vast_cli.media.probe import MAX_SIDE
from vast_cli.media.staged import StagedVideo

THREADS = 4  # fixed, never the number of cores: the same frames give the same bytes on every machine
FINISH_S = 900.0  # the encoder's last frames, and moving the index of a large file to its front
_BT709 = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
_CODECS: dict[str, dict[str, Any]] = {
    "h264": {"c:v": "libx264", "threads:v": THREADS},
    "h265": {
        "c:v": "libx265",
        "tag:v": "hvc1",
        "x265-params": f"pools={THREADS}:frame-threads=2:log-level=error:info=0",
    },
}


@dataclass(frozen=True)
class VideoFormat:
    """Size and encoding of a video.

    Args:
        width: of the frames.
        height: of the frames.
        crf: quality of the encoder, lower is better.
        preset: speed of the encoder.
        codec: `h264` plays everywhere; `h265` is smaller.

    Raises:
        VastError: `vast_option_invalid`.
    """

    width: int
    height: int
    crf: int = 18
    preset: str = "medium"
    codec: Codec = "h264"

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            message = f"frames of {self.width} x {self.height}; the limit is {MAX_SIDE} a side"
            raise VastError("vast_option_invalid", message)
        check_codec(self.codec)

    def encoder(self) -> dict[str, Any]:
        """Options of ffmpeg."""
        return {"crf": self.crf, "preset": self.preset, **_BT709, **_CODECS[self.codec]}


class VideoWriter:
    """Stream RGB frames at 25 fps into an H.264 (or H.265) MP4, with the source's audio.

    A context manager. Leaving it without an exception ends the encoder, checks the part file (it decodes, every frame
    is there, video and audio end within half a frame of each other), and gives it its name. Leaving it by any exception
    kills the encoder and leaves nothing behind. Frames are bt709, limited range, and tagged so. Odd sizes grow by one
    row or column, a copy of the last, because 4:2:0 needs even ones. The same input gives the same bytes.

    Args:
        path: `.mp4`, `.m4v` or `.mov`.
        video_format: size and encoding.
        audio: file whose audio goes in: copied where MP4 takes it, else AAC at its own rate. Silent if None.
        n_frames: frames that will come; checked at the end if given.
        n_samples: length of the audio at 16 kHz as `read_audio` counted it; counted here if not given.
        overwrite: replace an existing file.
        metadata: written into the file, any keys.

    Attributes:
        frames_written: so far.

    Raises:
        VastError: `vast_output_exists`, `vast_output_unwritable`, `vast_option_invalid`, `vast_no_ffmpeg`,
            `vast_encode_failed`, `vast_disk_full`, `vast_timeout`, and those of reading `audio`.
    """

    def __init__(
        self,
        path: Path,
        video_format: VideoFormat,
        *,
        audio: Path | None = None,
        n_frames: int | None = None,
        n_samples: int | None = None,
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.format = video_format
        self.metadata = dict(metadata or {})
        self.frames_written = 0
        self._pad = ((0, video_format.height % 2), (0, video_format.width % 2), (0, 0))
        self._staged = StagedVideo(path, audio=audio, n_frames=n_frames, n_samples=n_samples, overwrite=overwrite)
        self._process: FfmpegProcess | None = None

    @property
    def soundtrack(self) -> Soundtrack | None:
        """How the audio went in, after entering; None without audio."""
        return self._staged.soundtrack

    def __enter__(self) -> "VideoWriter":
        self._staged.begin()
        try:
            self._process = FfmpegProcess(self._command(self._staged.part), target=self.path)
        except BaseException:
            self._staged.abandon()
            raise
        return self

    def _command(self, part: Path) -> list[str]:
        width, height = (side + side % 2 for side in (self.format.width, self.format.height))
        raw = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "r": FPS}
        frames = ffmpeg.input("pipe:", **raw, protocol_whitelist="pipe").video
        # tags alone do not change values: without `out_color_matrix` swscale would make bt601
        exact = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
        frames = frames.filter("scale", in_range="full", out_range="tv", out_color_matrix="bt709", flags=exact)
        frames = frames.filter("format", "yuv420p")
        tags = {key.replace("color_range", "range"): value for key, value in _BT709.items()}
        streams = [frames.filter("setparams", **tags)]
        options = self._staged.muxing() | self.format.encoder()
        if self.soundtrack is not None:
            streams.append(ffmpeg.input(safe_path(self.soundtrack.path), protocol_whitelist=PROTOCOLS).audio)
        return command(ffmpeg.output(*streams, safe_path(part), **options), metadata=self.metadata)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame, [height, width, 3] RGB.

        Raises:
            VastError: `vast_encode_failed`, `vast_disk_full`.
        """
        assert self._process is not None, "VideoWriter is a context manager"
        shape = (self.format.height, self.format.width, 3)
        assert frame.shape == shape, f"frame {frame.shape}, want {shape}"
        assert frame.dtype == np.uint8, f"frame of {frame.dtype}, want uint8"
        if self.format.height % 2 or self.format.width % 2:
            frame = np.pad(frame, self._pad, mode="edge")
        self._process.write(np.ascontiguousarray(frame).data.cast("B"))
        self.frames_written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if error is not None:
            self._abandon()
            return
        try:
            if self.frames_written == 0:
                raise VastError("vast_encode_failed", f"no frame came for `{self.path}`")
            self._process.finish(timeout_s=FINISH_S)
            self._staged.finish(self.frames_written)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._staged.abandon()


def check_codec(name: str) -> None:
    """Refuse an unknown codec.

    Raises:
        VastError: `vast_option_invalid`.
    """
    if name not in _CODECS:
        raise VastError("vast_option_invalid", f"no codec `{name}`", hint=f"there are {', '.join(_CODECS)}")
