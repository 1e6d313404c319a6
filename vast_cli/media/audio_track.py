"""The audio of an output: the source's own packets where MP4 takes them, else AAC; measured before work starts.

It is written as a small file of its own, beside the output, before the first frame: so its length is measured, not
assumed, and hours of rendering cannot end in audio that does not fit.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS, HALF_FRAME_S
from vast_cli.media.audio import read_audio
from vast_cli.media.ffmpeg import FORMATS, PROTOCOLS, command, run, safe_path
from vast_cli.media.probe import MICROSECOND, audio_stream, bad_media, duration_of, open_media

log = logging.getLogger(__name__)

# MP4 may hold Opus, FLAC and PCM, too, but the players of one large maker stay silent
COPIED = frozenset({"aac", "mp3", "mp3float", "alac", "ac3", "eac3"})
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
AAC_FALLBACK_RATE = 48_000
AAC_BITRATE = "192k"
MAX_CHANNELS = 2  # of re-encoded audio
TOLERANCE_S = 0.005  # between the source's length and the soundtrack's: MP3 at 8 kHz gained 0.003 s
ROUNDING_S = 0.001  # of header times, and of the resampled length against the source's
MIN_TIMEOUT_S = 120.0
BITEXACT = {"fflags": "+bitexact", "flags:a": "+bitexact", "flags:v": "+bitexact"}
COMMON: dict[str, Any] = {"format": "mp4", "map_metadata": -1, "map_chapters": -1, **BITEXACT}


@dataclass(frozen=True)
class Soundtrack:
    """A finished soundtrack: an MP4 that holds nothing but audio, which starts at 0."""

    path: Path
    copied: bool  # the source's packets, bit for bit
    duration_s: float  # as players see it
    sample_rate: int


@dataclass(frozen=True)
class _SourceStream:
    """The audio stream of a source file."""

    codec: str
    sample_rate: int
    channels: int
    index: int
    delay_s: float  # how much later than the file's first stream it starts

    @classmethod
    def of(cls, source: Path) -> "_SourceStream":
        with open_media(source) as container:
            stream = audio_stream(container)
            if stream is None:
                raise VastError("vast_no_audio", f"`{source}` has no audio")
            context = stream.codec_context
            start_s = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
            container_start_s = float(container.start_time * MICROSECOND) if container.start_time else 0.0
            delay_s = start_s - container_start_s
            return cls(context.name, context.sample_rate, context.channels, stream.index, delay_s)

    def as_input(self, source: Path) -> Any:
        """The stream as ffmpeg-python's input, moved to 0, where `read_audio` has it."""
        options: dict[str, Any] = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
        if abs(self.delay_s) > 1 / self.sample_rate:
            options["itsoffset"] = f"{-self.delay_s:.9f}"
        return ffmpeg.input(safe_path(source), **options)[str(self.index)]


def make_soundtrack(source: Path, part: Path, *, target: Path, n_samples: int | None = None) -> Soundtrack:
    """Write the audio of `source` to `part`.

    Args:
        source: any file with audio.
        part: where to write; a name that ends in `.mp4`. The caller removes it.
        target: the output that the user asked for, for messages.
        n_samples: length of the source at 16 kHz, counted here if not given.

    Raises:
        VastError: `vast_no_audio`, `vast_bad_media`, `vast_encode_failed`, `vast_disk_full`, ...
    """
    stream = _SourceStream.of(source)
    if n_samples is None:
        n_samples = sum(len(block) for block in read_audio(source))
    expected_s = timebase.audio_seconds(n_samples)
    video_s = timebase.seconds(timebase.video_frames(n_samples))

    def write(**options: Any) -> float:
        output = ffmpeg.output(stream.as_input(source), safe_path(part), **COMMON, **options)
        run(command(output), target=target, timeout_s=MIN_TIMEOUT_S + expected_s)  # ffmpeg does hundreds of s in one
        return _duration(part)

    rate = stream.sample_rate
    if stream.codec in COPIED:
        try:
            written_s = write(**{"c:a": "copy", "movie_timescale": timescale(rate)})
            fits_video = abs(written_s - video_s) <= HALF_FRAME_S + ROUNDING_S
            if abs(written_s - expected_s) <= TOLERANCE_S and fits_video:
                return Soundtrack(part, copied=True, duration_s=written_s, sample_rate=rate)
            log.debug("a copy of the audio of `%s` lasts %.3f s, not %.3f s: encoding", source, written_s, expected_s)
        except VastError as error:
            if error.code != "vast_encode_failed":
                raise
            log.debug("the audio of `%s` cannot be copied: %s", source, error)
    rate = rate if rate in AAC_RATES else AAC_FALLBACK_RATE
    options = {"c:a": "aac", "b:a": AAC_BITRATE, "ar": rate, "movie_timescale": timescale(rate)}
    options |= {"af": "aresample=async=1:min_hard_comp=0.05:first_pts=0", "ac": min(stream.channels, MAX_CHANNELS)}
    written_s = write(**options)
    if abs(written_s - expected_s) > TOLERANCE_S:
        message = f"the audio of `{source}` lasts {expected_s:.3f} s, encoded {written_s:.3f} s"
        raise VastError("vast_encode_failed", message)
    return Soundtrack(part, copied=False, duration_s=written_s, sample_rate=rate)


def timescale(sample_rate: int) -> int:
    """Ticks a second in which both samples and frames are whole: ends are not rounded to MP4's usual millisecond."""
    return math.lcm(sample_rate, FPS)


def _duration(path: Path) -> float:
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise bad_media(path)
        return duration_of(container, stream)
