"""The sound of an output: the source's own packets where MP4 takes them, else AAC; measured before work starts.

It is made as a small file of its own, beside the output, before the first picture: whether a copy keeps the length is
then a fact and not a hope, and hours of rendering cannot end in a sound that does not fit.
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS, SAMPLE_RATE, video_frames
from vast_cli.media.audio import read_audio
from vast_cli.media.ffmpeg import FORMATS, PROTOCOLS, command, run, safe_path
from vast_cli.media.probe import MICROSECOND, audio_stream, bad_media, duration_of, open_media

log = logging.getLogger(__name__)

# Opus and FLAC may lie in an MP4, but players of one large maker stay silent; PCM likewise
COPIED = frozenset({"aac", "mp3", "mp3float", "alac", "ac3", "eac3"})
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})
AAC_FALLBACK_RATE = 48_000
AAC_BITRATE = "192k"
MAX_CHANNELS = 2  # of re-encoded sound
TOLERANCE_S = 0.005  # between the source's length and the soundtrack's: MP3 at 8 kHz was seen to gain 0.003 s
HALF_FRAME_S = 0.5 / FPS  # how far picture and sound may end apart
ROUNDING_S = 0.001  # of header times, and of the resampled length against the source's
MIN_TIMEOUT_S = 120.0
BITEXACT = {"fflags": "+bitexact", "flags:a": "+bitexact", "flags:v": "+bitexact"}


@dataclass(frozen=True)
class Soundtrack:
    """A finished soundtrack: MP4 that holds nothing but sound, which starts at 0."""

    path: Path
    copied: bool  # the source's packets, bit for bit
    duration_s: float  # as players see it
    sample_rate: int


def make_soundtrack(source: Path, part: Path, *, target: Path, n_samples: int | None = None) -> Soundtrack:
    """Write the sound of `source` to `part`.

    Args:
        source: any file with sound.
        part: where to write; a name in `.mp4`. The caller removes it.
        target: the output that the user asked for, for messages.
        n_samples: length of the source at 16 kHz, counted here if not given.

    Raises:
        VastError: `vast_no_audio`, `vast_bad_media`, `vast_encode_failed`, `vast_disk_full`, ...
    """
    with open_media(source) as container:
        stream = audio_stream(container)
        if stream is None:
            raise VastError("vast_no_audio", f"`{source}` has no sound")
        codec, rate, channels = (
            stream.codec_context.name,
            stream.codec_context.sample_rate,
            stream.codec_context.channels,
        )
        start_s = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
        container_start_s = float(container.start_time * MICROSECOND) if container.start_time else 0.0
        index = stream.index
    if n_samples is None:
        n_samples = sum(len(block) for block in read_audio(source))
    wanted_s = n_samples / SAMPLE_RATE
    timeout_s = MIN_TIMEOUT_S + wanted_s  # ffmpeg does hundreds of seconds in one
    delay_s = start_s - container_start_s  # sound that starts after its picture: moved to 0, where `read_audio` has it
    given: dict[str, Any] = {"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS}
    if abs(delay_s) > 1 / rate:
        given["itsoffset"] = f"{-delay_s:.9f}"
    sound = ffmpeg.input(safe_path(source), **given)[str(index)]
    common: dict[str, Any] = {"format": "mp4", "map_metadata": -1, "map_chapters": -1, **BITEXACT}
    if codec in COPIED:
        options = {**common, "c:a": "copy", "movie_timescale": timescale(rate)}
        try:
            run(command(ffmpeg.output(sound, safe_path(part), **options)), target=target, timeout_s=timeout_s)
            got_s = _duration(part)
            apart_s = abs(got_s - video_frames(n_samples) / FPS)
            if abs(got_s - wanted_s) <= TOLERANCE_S and apart_s <= HALF_FRAME_S + ROUNDING_S:
                return Soundtrack(part, copied=True, duration_s=got_s, sample_rate=rate)
            log.debug("a copy of the sound of `%s` lasts %.3f s, not %.3f s: encoded anew", source, got_s, wanted_s)
        except VastError as error:
            if error.code != "vast_encode_failed":
                raise
            log.debug("the sound of `%s` cannot be copied: %s", source, error)
    rate = rate if rate in AAC_RATES else AAC_FALLBACK_RATE
    options = {**common, "c:a": "aac", "b:a": AAC_BITRATE, "ar": rate, "movie_timescale": timescale(rate)}
    options |= {"af": "aresample=async=1:min_hard_comp=0.05:first_pts=0", "ac": min(channels, MAX_CHANNELS)}
    run(command(ffmpeg.output(sound, safe_path(part), **options)), target=target, timeout_s=timeout_s)
    got_s = _duration(part)
    if abs(got_s - wanted_s) > TOLERANCE_S:
        raise VastError("vast_encode_failed", f"the sound of `{source}` lasts {wanted_s:.3f} s, encoded {got_s:.3f} s")
    return Soundtrack(part, copied=False, duration_s=got_s, sample_rate=rate)


def timescale(sample_rate: int) -> int:
    """Ticks a second in which both samples and frames are whole: ends are not rounded to MP4's usual millisecond."""
    return math.lcm(sample_rate, FPS)


def _duration(path: Path) -> float:
    with open_media(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise bad_media(path)
        return duration_of(container, stream)
