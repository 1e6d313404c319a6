"""Which sound a comparison has, brought to its length: in step with its own picture, silent where it has ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ffmpeg

from vast_cli import media
from vast_cli.core import files
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS, SAMPLE_RATE
from vast_cli.media.ffmpeg import FORMATS, PROTOCOLS, command, run, safe_path
from vast_cli.media.probe import MICROSECOND, audio_stream, open_media

HALF_FRAME = SAMPLE_RATE // (2 * FPS)
TIMEOUT_S = 120.0
AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Sound:
    """The sound to play."""

    path: Path
    start_s: float | None  # container time of the picture it belongs to; None for a sound of its own
    n_samples: int  # at 16 kHz, from that picture on

    @property
    def n_frames(self) -> int:
        """Video frames that it needs."""
        return max(round(self.n_samples * FPS / SAMPLE_RATE), 1)


def choose_sound(option: str, videos: Sequence[Path], starts_s: Sequence[float]) -> Sound | None:
    """The sound that `--audio` names.

    Args:
        option: `auto` (the first video that has sound), `none`, the number of a video from 0, or a file.
        videos: of the comparison.
        starts_s: container time of the first picture of each.

    Raises:
        VastError: `vast_option_invalid`, `vast_input_missing`, `vast_no_audio`, `vast_bad_media`.
    """
    if option == NONE:
        return None
    if option == AUTO:
        number = next((k for k, video in enumerate(videos) if media.probe(video).has_audio), None)
        return None if number is None else _of_video(videos[number], starts_s[number])
    if option.isdecimal() and not Path(option).exists():
        if int(option) >= len(videos):
            raise VastError(
                "vast_option_invalid",
                f"`--audio {option}`, but there are {len(videos)} videos",
                hint="videos are counted from 0; or name a sound file, or `none`",
            )
        return _of_video(videos[int(option)], starts_s[int(option)])
    path = Path(option)
    files.check_input(path)
    return Sound(path, None, _length(path, None))


def _of_video(video: Path, start_s: float) -> Sound:
    return Sound(video, start_s, _length(video, start_s))


def _length(path: Path, start_s: float | None) -> int:
    return sum(len(block) for block in media.read_audio(path, start_s=start_s))


@contextmanager
def fitted(sound: Sound, *, n_frames: int, target: Path) -> Iterator[tuple[Path, int]]:
    """A file that holds exactly the sound of `n_frames`, and its length at 16 kHz: the source itself where it fits,
    else a copy without loss beside `target`, gone afterwards.

    Raises:
        VastError: `vast_encode_failed`, `vast_disk_full`, `vast_timeout`.
    """
    wanted = n_frames * SAMPLE_RATE // FPS
    delay_s = _delay_s(sound)
    if abs(delay_s) < 0.001 and abs(sound.n_samples - wanted) < HALF_FRAME:
        yield sound.path, sound.n_samples
        return
    part = files.part_path(target.with_suffix(".flac"))
    source = ffmpeg.input(safe_path(sound.path), format_whitelist=FORMATS, protocol_whitelist=PROTOCOLS).audio
    # sound before its picture goes, a late start and what is missing at the end become silence
    placed = source.filter("asetpts", f"PTS-({delay_s:.6f})/TB")
    placed = placed.filter("aresample", **{"async": 1, "min_hard_comp": 0.05, "first_pts": 0})
    length_s = n_frames / FPS
    placed = placed.filter("apad", whole_dur=length_s).filter("atrim", end=length_s)
    graph = ffmpeg.output(placed, safe_path(part), format="flac", map_metadata=-1, fflags="+bitexact")
    try:
        run(command(graph), target=target, timeout_s=TIMEOUT_S + length_s)
        yield part, wanted
    finally:
        part.unlink(missing_ok=True)


def _delay_s(sound: Sound) -> float:
    """Seconds from where ffmpeg sets the clock of the file to 0 until the moment that must be 0."""
    with open_media(sound.path) as container:
        zero_s = float(container.start_time * MICROSECOND) if container.start_time else 0.0
        stream = audio_stream(container)
        assert stream is not None  # its length was taken
        first_s = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    return (first_s if sound.start_s is None else sound.start_s) - zero_s
