"""Writes videos side by side as one video: a grid composed with moviepy, streamed into our encoder.

Frames come from our reader and go to our writer; moviepy composes between them, frame by frame. So any input works,
memory does not grow with length, the output appears whole or not at all, and moviepy starts no encoder of its own.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vast_cli import media
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.core.text import timestamp
from vast_cli.core.timebase import FPS
from vast_cli.evaluate import drawing
from vast_cli.evaluate.compare import layout, waveform
from vast_cli.evaluate.compare.audio import AUTO, AudioTrack, choose_audio, fit_audio
from vast_cli.evaluate.compare.layout import BACKGROUND, GAP, Grid, Scores
from vast_cli.evaluate.compare.source import TOLERANCE, ComparisonSource

MIN_HEIGHT = 64
CLOCK_WIDTH, CLOCK_SIZE = 96, 16  # px; of its font


@dataclass(frozen=True)
class ComparisonSettings:
    """How a comparison looks and sounds.

    Attributes:
        labels: one per video; by default the file names.
        scores: name to value for each video, in the order shown; None is shown as a dash.
        audio: option of `choose_audio`.
        show_waveform: show a strip of the audio with a moving playhead.
        columns: videos in a row; `layout.default_columns` if not given.
        height: of each video in pixels.
        crf: quality of the encoder, lower is better.
    """

    labels: Sequence[str] | None = None
    scores: Sequence[Scores] | None = None
    audio: str = AUTO
    show_waveform: bool = False
    columns: int | None = None
    height: int = 360
    crf: int = 18


@dataclass(frozen=True)
class Comparison:
    """A finished comparison."""

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
            "duration_s": timebase.seconds(self.n_frames),
            "width": self.width,
            "height": self.height,
            "audio": None if self.audio is None else str(self.audio),
            "notes": self.notes,
        }


@dataclass(frozen=True)
class _CellPlan:
    """The grid of a comparison and what stands in its cells."""

    grid: Grid
    widths: list[int]  # of the cell of each video
    captions: list[Image]


def compare_videos(
    videos: Sequence[Path],
    output: Path,
    settings: ComparisonSettings | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Write videos side by side, each with its name and scores below.

    All are scaled to one height and padded. The shorter ones hold their last frame, dimmed. Nothing is cut off.

    Args:
        videos: two or more, any size, rate and length.
        output: `.mp4`, `.m4v` or `.mov`.
        settings: labels, scores, audio, layout and quality.
        overwrite: replace an existing output.
        progress: called with the number of frames done.

    Raises:
        VastError: `vast_option_invalid`, and those of reading and writing media.
    """
    settings = settings or ComparisonSettings()
    _check(videos, output, settings, overwrite=overwrite)
    labels = list(settings.labels) if settings.labels is not None else _file_labels(videos)
    plan = _plan_cells(videos, labels, settings)
    with ExitStack() as stack:
        sources = [
            stack.enter_context(ComparisonSource(video, height=settings.height, width=width, background=BACKGROUND))
            for video, width in zip(videos, plan.widths, strict=True)
        ]
        for source in sources:
            source.count_frames(progress)
        track = choose_audio(settings.audio, videos, [source.start_s for source in sources])
        n_frames = max([*(source.n_frames for source in sources), track.n_frames if track else 1])
        for source in sources:
            source.n_shown = n_frames
        notes = _notes(sources, labels, n_frames, track)
        if settings.audio == AUTO and track is None:
            notes.append("none of the videos has audio")
        grid = plan.grid if track is not None else replace(plan.grid, strip_height=0)
        strip = _plot_strip(track, grid, n_frames) if track is not None and settings.show_waveform else None
        audio, n_samples = None, None
        if track is not None:
            audio, n_samples = stack.enter_context(fit_audio(track, n_frames=n_frames, target=output))
        clip = stack.enter_context(_compose(sources, plan.captions, strip, grid, n_frames))
        with media.VideoWriter(
            output,
            media.VideoFormat(grid.width, grid.height, crf=settings.crf, preset="fast"),
            audio=audio,
            n_samples=n_samples,
            n_frames=n_frames,
            overwrite=overwrite,
        ) as writer:
            for frame in clip.iter_frames(fps=FPS, logger=_logger(progress)):
                writer.write(frame)
    played = track.path if track is not None else None
    return Comparison(output, list(videos), labels, n_frames, grid.width, grid.height, played, notes)


def _check(videos: Sequence[Path], output: Path, settings: ComparisonSettings, *, overwrite: bool) -> None:
    """Refuse what cannot work before any work is done."""
    if len(videos) < 2:
        raise VastError("vast_option_invalid", f"{len(videos)} video cannot be compared", hint="give two or more")
    for video in videos:
        files.check_input(video)
    labels, scores = settings.labels, settings.scores
    if labels is not None and len(labels) != len(videos):
        raise VastError(
            "vast_option_invalid", f"{len(labels)} labels for {len(videos)} videos", hint='--labels "ours,theirs"'
        )
    if scores is not None and len(scores) != len(videos):
        raise VastError("vast_option_invalid", f"scores of {len(scores)} videos for {len(videos)} videos")
    if settings.height < MIN_HEIGHT:
        raise VastError("vast_option_invalid", f"a height of {settings.height} px; the least is {MIN_HEIGHT}")
    if settings.columns is not None and settings.columns < 1:
        raise VastError("vast_option_invalid", f"{settings.columns} columns make no grid")
    if any(video.absolute() == output.absolute() for video in videos):
        raise VastError("vast_option_invalid", f"`{output}` is one of the videos", hint="name another file with `-o`")
    files.check_output(output, overwrite=overwrite)


def _plan_cells(videos: Sequence[Path], labels: Sequence[str], settings: ComparisonSettings) -> _CellPlan:
    infos = [media.probe(video) for video in videos]
    for info in infos:
        if not info.has_video:
            raise VastError("vast_bad_media", f"`{info.path}` has no video stream", hint="give a video")
    height = settings.height
    column_widths = layout.column_widths(
        [info.width / info.height for info in infos], height=height, columns=settings.columns
    )
    widths = [column_widths[k % len(column_widths)] for k in range(len(videos))]
    lines = [
        layout.score_lines(scores, width=width - 8, size=layout.score_size(height))
        for scores, width in zip(settings.scores or [{}] * len(widths), widths, strict=True)
    ]
    grid = layout.make_grid(
        len(videos), column_widths, height=height, n_lines=max(map(len, lines)), strip=settings.show_waveform
    )
    captions = [
        layout.draw_caption(grid, k, label, scores) for k, (label, scores) in enumerate(zip(labels, lines, strict=True))
    ]
    return _CellPlan(grid, widths, captions)


def _file_labels(videos: Sequence[Path]) -> list[str]:
    """Stems of the files, with their folders if two stems are equal."""
    stems = [video.stem for video in videos]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{video.absolute().parent.name}/{video.stem}" for video in videos]


def _notes(
    sources: Sequence[ComparisonSource], labels: Sequence[str], n_frames: int, track: AudioTrack | None
) -> list[str]:
    notes = []
    missing = drawing.characters_without_font("".join(labels))
    if missing:
        notes.append(f"no font on this machine has {missing}: shown as ?")
    for source, label in zip(sources, labels, strict=True):
        shorter_by = n_frames - source.n_frames
        if shorter_by > TOLERANCE:
            shorter_s = timebase.seconds(shorter_by)
            notes.append(f"`{label}` ends {shorter_s:.2f} s before the comparison does: its last frame stays, dimmed")
        if source.truncated:
            notes.append(f"`{source.path}` breaks off before its end")
    if track is not None and n_frames - track.n_frames > TOLERANCE:
        notes.append(f"the audio ends {timebase.seconds(n_frames - track.n_frames):.2f} s before the comparison does")
    return notes


def _plot_strip(track: AudioTrack, grid: Grid, n_frames: int) -> Image:
    values = waveform.envelope(
        media.read_audio(track.path, start_s=track.start_s),
        n_samples=timebase.sample_at(n_frames),
        columns=grid.width - 2 * waveform.MARGIN,
    )
    return waveform.plot_waveform(values, height=grid.strip_height, duration_s=timebase.seconds(n_frames))


def _import_moviepy() -> Any:
    """moviepy with our ffmpeg, kept from reading `.env` files."""
    os.environ.setdefault("FFMPEG_BINARY", media.find_ffmpeg())
    os.environ.setdefault("PYTHON_DOTENV_DISABLED", "1")
    import moviepy

    return moviepy


@contextmanager
def _compose(
    sources: Sequence[ComparisonSource],
    captions: Sequence[Image],
    strip: Image | None,
    grid: Grid,
    n_frames: int,
) -> Iterator[Any]:
    """The whole grid as a moviepy clip, whose frames must be read in order."""
    moviepy = _import_moviepy()
    # half a frame longer, as moviepy rounds duration times rate down
    length_s = timebase.seconds(n_frames + 0.5)
    clips = []
    for index, (source, caption) in enumerate(zip(sources, captions, strict=True)):
        left, top = grid.cell_corner(index)
        # `t` is frame / 25, so rounding gives back the exact frame
        cell = moviepy.VideoClip(lambda t, source=source: source.frame(timebase.frame_at(t)))
        clips.append(cell.with_duration(length_s).with_position((left, top)))
        caption_clip = moviepy.ImageClip(caption).with_duration(length_s)
        clips.append(caption_clip.with_position((left, top + grid.cell_height)))
    if strip is not None:
        clips += _strip_clips(moviepy, strip, grid, length_s, n_frames)
    composition = moviepy.CompositeVideoClip(clips, size=(grid.width, grid.height), bg_color=BACKGROUND)
    try:
        yield composition.with_duration(length_s)
    finally:
        composition.close()
        for clip in clips:
            clip.close()


def _strip_clips(moviepy: Any, strip: Image, grid: Grid, length_s: float, n_frames: int) -> list[Any]:
    """Waveform, playhead and clock."""
    top, span = grid.height - grid.strip_height, strip.shape[1] - 2 * waveform.MARGIN

    def playhead_corner(t: float) -> tuple[int, int]:
        return waveform.MARGIN + round(timebase.to_frames(t) / n_frames * span) - 1, top

    def draw_clock(t: float) -> Image:
        image = drawing.blank_image(CLOCK_SIZE + 8, CLOCK_WIDTH, BACKGROUND)
        position = (CLOCK_WIDTH - 4.0, image.shape[0] / 2)
        drawing.draw_text(image, timestamp(t), position, CLOCK_SIZE, colour=waveform.PLAYHEAD_COLOUR, anchor="r")
        return image

    background = moviepy.ImageClip(strip).with_duration(length_s).with_position((0, top))
    playhead = moviepy.ColorClip((2, grid.strip_height - waveform.SCALE_HEIGHT), color=waveform.PLAYHEAD_COLOUR)
    clock = moviepy.VideoClip(draw_clock).with_duration(length_s)
    return [
        background,
        playhead.with_duration(length_s).with_position(playhead_corner),
        clock.with_position((grid.width - CLOCK_WIDTH - GAP, top)),
    ]


def _logger(progress: Progress) -> Any:
    """A moviepy logger that reports to `progress` and prints nothing."""
    import proglog  # type: ignore[import-untyped]

    class Logger(proglog.ProgressBarLogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(logged_bars=None)  # by default it keeps a line for each frame

        def bars_callback(self, bar: str, attr: str, value: Any, old_value: Any = None) -> None:
            if attr == "index":
                progress("compare", int(value), self.bars[bar]["total"])

    return Logger()
