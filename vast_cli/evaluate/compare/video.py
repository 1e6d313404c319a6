"""Videos side by side as one video: a grid composed with moviepy, streamed into our encoder.

Pictures come from our reader and go to our writer; moviepy composes between them, frame by frame. So any input works,
memory does not grow with length, the output appears whole or not at all, and moviepy starts no encoder of its own.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vast_cli import media
from vast_cli.core import files
from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.core.text import timestamp
from vast_cli.core.timebase import FPS, SAMPLE_RATE
from vast_cli.evaluate import drawing
from vast_cli.evaluate.compare import audio as sounds
from vast_cli.evaluate.compare import grid as layout
from vast_cli.evaluate.compare import waveform
from vast_cli.evaluate.compare.grid import GAP, GROUND, Grid, Scores
from vast_cli.evaluate.compare.source import FORGIVEN, Source

MIN_HEIGHT = 64
CLOCK_SIZE = 16


@dataclass(frozen=True)
class Comparison:
    """What was made."""

    output: Path
    videos: list[Path]
    labels: list[str]
    n_frames: int
    width: int
    height: int
    audio: Path | None
    notes: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "output": str(self.output),
            "videos": [
                {"path": str(path), "label": label} for path, label in zip(self.videos, self.labels, strict=True)
            ],
            "n_frames": self.n_frames,
            "duration_s": self.n_frames / FPS,
            "width": self.width,
            "height": self.height,
            "audio": None if self.audio is None else str(self.audio),
            "notes": self.notes,
        }


def compare_videos(
    videos: Sequence[Path],
    output: Path,
    *,
    labels: Sequence[str] | None = None,
    scores: Sequence[Scores] | None = None,
    audio: str = sounds.AUTO,
    show_waveform: bool = False,
    columns: int | None = None,
    height: int = 360,
    crf: int = 18,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Write videos side by side, each with its name and scores below.

    All are scaled to one height and padded; the shortest hold their last picture, dimmed. Nothing is cut off.

    Args:
        videos: two or more, any size, rate and length.
        output: `.mp4`, `.m4v` or `.mov`.
        labels: one a video; names of the files if not given.
        scores: name to value for each video, in the order shown; None is drawn as a dash.
        audio: as `sound.choose_sound`.
        show_waveform: a strip of the sound with a moving playhead.
        columns: videos in a row.
        height: of each video in pixels.
        crf: quality of the encoder, lower is better.
        overwrite: replace an existing output.
        progress: told of frames.

    Raises:
        VastError: `vast_option_invalid`, and those of reading and writing media.
    """
    names = _check(videos, output, labels, scores, columns=columns, height=height, overwrite=overwrite)
    notes: list[str] = []
    with ExitStack() as stack:
        infos = [media.probe(video) for video in videos]
        for info in infos:
            if not info.has_video:
                raise VastError("vast_bad_media", f"`{info.path}` holds no moving picture", hint="give a video")
        aspects = [info.width / info.height for info in infos]
        widths = layout.column_widths(aspects, height=height, columns=columns)
        cells = [widths[k % len(widths)] for k in range(len(videos))]
        lines = [
            layout.score_lines(one, width=width - 8, size=layout.score_size(height))
            for one, width in zip(scores or [{}] * len(cells), cells, strict=True)
        ]
        grid = layout.make_grid(len(videos), widths, height=height, lines=max(map(len, lines)), strip=show_waveform)
        sources = [
            stack.enter_context(Source(video, height=height, width=width, ground=GROUND))
            for video, width in zip(videos, cells, strict=True)
        ]
        for source in sources:
            source.count(progress)
        sound = sounds.choose_sound(audio, videos, [source.start_s for source in sources])
        n_frames = max([*(source.n_frames for source in sources), sound.n_frames if sound else 1])
        notes += _notes(sources, names, n_frames, sound)
        if audio == sounds.AUTO and sound is None:
            notes.append("none of the videos has sound")
        if sound is None and show_waveform:
            grid = replace(grid, strip=0)
        captions = [layout.draw_caption(grid, k, *both) for k, both in enumerate(zip(names, lines, strict=True))]
        wave = _waveform(sound, grid, n_frames) if sound is not None and show_waveform else None
        track = None if sound is None else stack.enter_context(sounds.fitted(sound, n_frames=n_frames, target=output))
        clip = stack.enter_context(_composed(sources, captions, wave, grid, n_frames))
        with media.VideoWriter(
            output,
            width=grid.width,
            height=grid.height,
            audio=None if track is None else track[0],
            n_samples=None if track is None else track[1],
            n_frames=n_frames,
            overwrite=overwrite,
            crf=crf,
            preset="fast",
        ) as writer:
            for frame in clip.iter_frames(fps=FPS, logger=_logger(progress)):
                writer.write(frame)
    return Comparison(
        output, list(videos), names, n_frames, grid.width, grid.height, sound.path if sound else None, notes
    )


def _check(
    videos: Sequence[Path],
    output: Path,
    labels: Sequence[str] | None,
    scores: Sequence[Scores] | None,
    *,
    columns: int | None,
    height: int,
    overwrite: bool,
) -> list[str]:
    """Refuse what cannot work before any work; gives the names to show."""
    if len(videos) < 2:
        raise VastError("vast_option_invalid", f"{len(videos)} video cannot be compared", hint="give two or more")
    for video in videos:
        files.check_input(video)
    if labels is not None and len(labels) != len(videos):
        raise VastError(
            "vast_option_invalid", f"{len(labels)} labels for {len(videos)} videos", hint='--labels "ours,theirs"'
        )
    if scores is not None and len(scores) != len(videos):
        raise VastError("vast_option_invalid", f"scores of {len(scores)} videos for {len(videos)} videos")
    if height < MIN_HEIGHT or (columns is not None and columns < 1):
        raise VastError("vast_option_invalid", f"a grid of {columns or 'any'} columns and {height} px is none")
    if any(video.absolute() == output.absolute() for video in videos):
        raise VastError("vast_option_invalid", f"`{output}` is one of the videos", hint="name another file with `-o`")
    files.check_output(output, overwrite=overwrite)
    return list(labels) if labels is not None else _file_names(videos)


def _file_names(videos: Sequence[Path]) -> list[str]:
    """Stems, with their folders where stems are alike."""
    stems = [video.stem for video in videos]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{video.absolute().parent.name}/{video.stem}" for video in videos]


def _notes(sources: Sequence[Source], names: Sequence[str], n_frames: int, sound: sounds.Sound | None) -> list[str]:
    notes = []
    unknown = drawing.without_font("".join(names))
    if unknown:
        notes.append(f"no font on this machine has {unknown}: shown as ?")
    for source, name in zip(sources, names, strict=True):
        source.lasts = n_frames
        missing = n_frames - source.n_frames
        if missing > FORGIVEN:
            notes.append(
                f"`{name}` ends {missing / FPS:.2f} s before the comparison does: its last picture stays, dimmed"
            )
        if source.truncated:
            notes.append(f"`{source.path}` breaks off before its end")
    if sound is not None and n_frames - sound.n_frames > FORGIVEN:
        notes.append(f"the sound ends {(n_frames - sound.n_frames) / FPS:.2f} s before the comparison does")
    return notes


def _waveform(sound: sounds.Sound, grid: Grid, n_frames: int) -> Image:
    values = waveform.envelope(
        media.read_audio(sound.path, start_s=sound.start_s),
        n_samples=n_frames * SAMPLE_RATE // FPS,
        columns=grid.width - 2 * waveform.MARGIN,
    )
    return waveform.draw_waveform(values, height=grid.strip, duration_s=n_frames / FPS)


def _moviepy() -> Any:
    """moviepy with our ffmpeg, and without its reading of `.env` files."""
    os.environ.setdefault("FFMPEG_BINARY", media.find_ffmpeg())
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
    import moviepy

    return moviepy


@contextmanager
def _composed(
    sources: Sequence[Source], captions: Sequence[Image], wave: Image | None, grid: Grid, n_frames: int
) -> Iterator[Any]:
    """The whole as a moviepy clip, to be asked for its frames in order."""
    moviepy = _moviepy()
    # half a frame more: moviepy rounds duration times rate down
    length_s = (n_frames + 0.5) / FPS
    clips = []
    for index, (source, caption) in enumerate(zip(sources, captions, strict=True)):
        left, top = grid.place(index)
        # `t` is frame / 25, so that the frame comes back exactly
        cell = moviepy.VideoClip(lambda t, source=source: source.at(round(t * FPS)))
        clips.append(cell.with_duration(length_s).with_position((left, top)))
        below = moviepy.ImageClip(caption).with_duration(length_s)
        clips.append(below.with_position((left, top + grid.cell_height)))
    if wave is not None:
        clips += _strip(moviepy, wave, grid, length_s, n_frames)
    whole = moviepy.CompositeVideoClip(clips, size=(grid.width, grid.height), bg_color=GROUND)
    try:
        yield whole.with_duration(length_s)
    finally:
        whole.close()
        for clip in clips:
            clip.close()


def _strip(moviepy: Any, wave: Image, grid: Grid, length_s: float, n_frames: int) -> list[Any]:
    """Waveform, playhead and clock."""
    top, span = grid.height - grid.strip, wave.shape[1] - 2 * waveform.MARGIN

    def playhead(t: float) -> tuple[int, int]:
        return waveform.MARGIN + round(t * FPS / n_frames * span) - 1, top

    def now(t: float) -> Image:
        picture = drawing.blank(CLOCK_SIZE + 8, 96, GROUND)
        where = (92.0, picture.shape[0] / 2)
        drawing.write(picture, timestamp(t), where, CLOCK_SIZE, colour=waveform.PLAYHEAD, anchor="r")
        return picture

    still = moviepy.ImageClip(wave).with_duration(length_s).with_position((0, top))
    line = moviepy.ColorClip((2, grid.strip - waveform.SCALE_HEIGHT), color=waveform.PLAYHEAD)
    ticking = moviepy.VideoClip(now).with_duration(length_s)
    return [
        still,
        line.with_duration(length_s).with_position(playhead),
        ticking.with_position((grid.width - 96 - GAP, top)),
    ]


def _logger(progress: Progress) -> Any:
    """moviepy's progress told to ours; it prints nothing itself."""
    import proglog  # type: ignore[import-untyped]

    class Logger(proglog.ProgressBarLogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(logged_bars=None)  # else it keeps a line a frame

        def bars_callback(self, bar: str, attr: str, value: Any, old_value: Any = None) -> None:
            if attr == "index":
                progress("compare", int(value), self.bars[bar]["total"])

    return Logger()
