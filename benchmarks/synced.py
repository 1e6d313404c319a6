"""Copies of corpus clips put in sync: constant offsets of the sources would look like sync errors."""

from pathlib import Path

from vast_cli.media.ffmpeg import find_ffmpeg, run
from vast_cli.training.corpora import CorpusClip, audio_offset_s


def put_in_sync(clip: CorpusClip, folder: Path) -> Path:
    """A copy of `clip`, frames untouched, audio moved by the measured offset; the clip itself if that is 0."""
    late = audio_offset_s(clip)
    if not late:
        return clip.path
    target = folder / f"{clip.key}.mp4"
    move = ["-ss", f"{late}"] if late > 0 else ["-itsoffset", f"{-late}"]
    pad = "aresample=async=1:first_pts=0,apad"
    arguments = ["-i", str(clip.path), *move, "-i", str(clip.path), "-map", "0:v", "-map", "1:a", "-c:v", "copy"]
    length = ["-t", f"{clip.n_frames / 25}"]
    run([find_ffmpeg(), "-y", *arguments, "-af", pad, "-c:a", "aac", *length, str(target)], target=target, timeout_s=60)
    return target
