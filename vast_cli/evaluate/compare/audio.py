"""Chooses the audio of a comparison and fits it: in step with its own video, padded with silence to full length."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ffmpeg

from vast_cli import media
from vast_cli.core import files, timebase
from vast_cli.core.errors import VastError
from vast_cli.media.ffmpeg import FORMATS, PROTOCOLS, command, run, safe_path
from vast_cli.media.probe import MICROSECOND, audio_stream, open_media

HALF_FRAME = timebase.SAMPLES_PER_FRAME // 2  # samples
TIMEOUT_S = 120.0
AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class AudioTrack:
    """The audio that a comparison plays."""

    path: Path
    start_s: float | None  # container time of the frame it belongs to; None for an audio file of its own
    n_samples: int  # at 16 kHz, from that frame on

    @property
    def n_frames(self) -> int:
        """Video frames that it covers."""
        return max(round(timebase.audio_frames(self.n_samples)), 1)


def choose_audio(option: str, videos: Sequence[Path], starts_s: Sequence[float]) -> AudioTrack | None:
    """The audio that `--audio` names.

    Args:
        option: `auto` (the first video with audio), `none`, the number of a video from 0, or a file.
        videos: of the comparison.
        starts_s: container time of the first frame of each.

    Raises:
        VastError: `vast_option_invalid`, `vast_input_missing`, `vast_no_audio`, `vast_bad_media`.
    """
    if option == NONE:
        return None
    if option == AUTO:
        number = next((k for k, video in enumerate(videos) if media.probe(video).has_audio), None)
        return None if number is None else _read_track(videos[number], starts_s[number])
    if option.isdecimal() and not Path(option).exists():
        if int(option) >= len(videos):
            raise VastError(
                "vast_option_invalid",
                f"`--audio {option}`, but there are {len(videos)} videos",
                hint="videos are counted from 0; or name an audio file, or `none`",
            )
        return _read_track(videos[int(option)], starts_s[int(option)])
    path = Path(option)
    files.check_input(path)
    return _read_track(path, None)


def _read_track(path: Path, start_s: float | None) -> AudioTrack:
    return AudioTrack(path, start_s, sum(len(block) for block in media.read_audio(path, start_s=start_s)))


@contextmanager
def fit_audio(track: AudioTrack, *, n_frames: int, target: Path) -> Iterator[tuple[Path, int]]:
    """Yield a file that holds exactly the audio of `n_frames`, and its length in samples at 16 kHz.

    This is the source itself where it fits, otherwise a lossless temporary copy beside `target`.

    Raises:
        VastError: `vast_encode_failed`, `vast_disk_full`, `vast_timeout`.
    """
    n_samples = timebase.sample_at(n_frames)
    delay_s = _delay_s(track)
    if abs(delay_s) < 0.001 and abs(track.n_samples - n_samples) < HALF_FRAME:
        yield track.path, track.n_samples
        return
    part = files.part_path(target.with_suffix(".flac"))
    source = ffmpeg.input(safe_path(track.path), format_whitelist=FORMATS, protocol_whitelist=PROTOCOLS).audio
    # cuts off audio before the first frame; a late start and a missing end become silence
    aligned = source.filter("asetpts", f"PTS-({delay_s:.6f})/TB")
    aligned = aligned.filter("aresample", **{"async": 1, "min_hard_comp": 0.05, "first_pts": 0})
    length_s = timebase.seconds(n_frames)
    padded = aligned.filter("apad", whole_dur=length_s).filter("atrim", end=length_s)
    graph = ffmpeg.output(padded, safe_path(part), format="flac", map_metadata=-1, fflags="+bitexact")
    try:
        run(command(graph), target=target, timeout_s=TIMEOUT_S + length_s)
        yield part, n_samples
    finally:
        part.unlink(missing_ok=True)


def _delay_s(track: AudioTrack) -> float:
    """Seconds between ffmpeg's zero of the file and the moment that must become zero."""
    with open_media(track.path) as container:
        zero_s = float(container.start_time * MICROSECOND) if container.start_time else 0.0
        stream = audio_stream(container)
        assert stream is not None  # `_read_track` has read it
        first_s = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    return (first_s if track.start_s is None else track.start_s) - zero_s
