"""The videos that raters see: one size, crop, length, sound format, loudness and codec for all, and no metadata."""

import os
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.files import part_path
from vast_cli.core.timebase import FPS, SAMPLE_RATE
from vast_cli.evaluate.study.loudness import Samples
from vast_cli.evaluate.study.manifest import Entry, Manifest
from vast_cli.evaluate.study.questions import TRUTH
from vast_cli.media import VideoReader, VideoWriter, load_audio, probe

CRF = 16
MAX_SIDE = 720  # px
MAX_SECONDS = 60.0  # of one video: people do not hold a judgement longer
MAX_APART = 5  # frames by which the videos of one sentence may differ in length
HEADER_SLACK = 2  # frames that a header may promise too many; the last picture stands for them
ASPECT_SLACK = 0.02  # relative; a crop of less is rounding
ASKED_FROM = 0.3  # share of the clip after which the picture asks for a button
PER_FRAME = SAMPLE_RATE // FPS


@dataclass(frozen=True)
class Source:
    """A video of the table, measured."""

    entry: Entry
    width: int
    height: int
    n_frames: int


@dataclass(frozen=True)
class Form:
    """What all clips have in common; lengths are per sentence."""

    width: int
    height: int
    n_frames: dict[str, int]
    cropped: tuple[int, ...]  # rows whose picture was wider or higher than the others'
    trimmed: tuple[int, ...]  # rows cut to the length of the shortest


def measure(manifest: Manifest) -> tuple[list[Source], list[str]]:
    """Open every video; what can be shown, and what cannot with its row."""
    sources, faults = [], []
    for entry in manifest.entries:
        try:
            reader = VideoReader(entry.video)
            source = Source(entry, reader.width, reader.height, reader.n_frames)
            if not probe(entry.video).has_audio:
                faults.append(f"row {entry.row}: `{entry.video}` has no sound")
            elif source.n_frames > MAX_SECONDS * FPS:
                faults.append(f"row {entry.row}: `{entry.video}` lasts longer than {MAX_SECONDS:.0f} s")
            else:
                sources.append(source)
        except VastError as error:
            faults.append(f"row {entry.row}: {error.message}")
    for sentence in manifest.sentences:
        own = [source for source in sources if source.entry.sentence == sentence]
        middle = median([source.n_frames for source in own]) if own else 0
        faults += [
            f"row {source.entry.row}: {source.n_frames / FPS:.2f} s, the others of `{sentence}` {middle / FPS:.2f} s"
            for source in own
            if abs(source.n_frames - middle) > MAX_APART
        ]
    return sources, faults


def common_form(sources: Sequence[Source]) -> Form:
    """The truth's size, or the middle one; each sentence's shortest length."""
    leading = [source for source in sources if source.entry.method == TRUTH] or list(sources)
    width, height = (
        median([source.width for source in leading]),
        median([source.height for source in leading]),
    )
    scale = min(1.0, MAX_SIDE / max(width, height))
    n_frames: dict[str, int] = {}
    for source in sources:
        sentence = source.entry.sentence
        n_frames[sentence] = min(source.n_frames, n_frames.get(sentence, source.n_frames))
    return Form(
        width=max(2, 2 * round(width * scale / 2)),
        height=max(2, 2 * round(height * scale / 2)),
        n_frames=n_frames,
        cropped=tuple(s.entry.row for s in sources if abs(s.width / s.height / (width / height) - 1) > ASPECT_SLACK),
        trimmed=tuple(s.entry.row for s in sources if s.n_frames > n_frames[s.entry.sentence]),
    )


def read_sound(source: Source, n_frames: int) -> Samples:
    """The sound of a video from its first picture on, exactly as long as `n_frames` pictures."""
    sound = load_audio(source.entry.video, start_s=VideoReader(source.entry.video).start_s)
    return fit_sound(sound, n_frames)


def fit_sound(sound: Samples, n_frames: int) -> Samples:
    """Cut, or lengthen by silence."""
    length = n_frames * PER_FRAME
    return np.pad(sound[:length], (0, max(length - len(sound), 0)))


def write_clip(
    path: Path, source: Source, form: Form, sound: Samples, *, delay: int = 0, words: str | None = None
) -> None:
    """Encode one clip.

    Args:
        path: `.mp4`; replaced if it exists.
        source: the picture.
        form: of all clips.
        sound: [n] mono 16 kHz, as long as the sentence's pictures.
        delay: frames by which the picture comes late; its first one stays so long.
        words: what the picture asks for, shown over its lower part.
    """
    n_frames = form.n_frames[source.entry.sentence]
    count = 0
    with _wav(sound, path) as wav:
        # the same settings for all: what the encoder takes away must not tell methods apart
        writer = VideoWriter(
            path,
            width=form.width,
            height=form.height,
            audio=wav,
            n_frames=n_frames,
            n_samples=len(sound),
            crf=CRF,
            overwrite=True,
        )
        with writer as out:
            for frame in _pictures(source, form, n_frames=n_frames, delay=delay):
                if words is not None and count >= ASKED_FROM * n_frames:
                    _write_words(frame, words)
                out.write(frame)
                count += 1
    os.utime(path, (0, 0))  # when it was made would tell the order of methods


def _pictures(source: Source, form: Form, *, n_frames: int, delay: int) -> Iterator[Image]:
    count = 0
    with VideoReader(source.entry.video) as reader:
        for picture in islice(reader, n_frames):
            frame = _to_form(picture, form)
            for _ in range(delay + 1 if count == 0 else 1):
                if count < n_frames:
                    yield frame.copy()
                    count += 1
    for _ in range(n_frames - count if n_frames - count <= HEADER_SLACK else 0):
        yield frame.copy()
        count += 1
    if count < n_frames:
        message = f"`{source.entry.video}` breaks off after {count} of {n_frames} pictures"
        raise VastError("vast_bad_media", message, where=f"row {source.entry.row}")


def _to_form(frame: Image, form: Form) -> Image:
    """Cut to the common aspect around the centre, then resize."""
    height, width = frame.shape[:2]
    aspect = form.width / form.height
    cut_width, cut_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    if abs(width / height / aspect - 1) <= ASPECT_SLACK:
        cut_width, cut_height = width, height
    left, top = (width - cut_width) // 2, (height - cut_height) // 2
    cut = frame[top : top + cut_height, left : left + cut_width]
    way = cv2.INTER_AREA if cut_height > form.height else cv2.INTER_CUBIC
    if (cut_width, cut_height) == (form.width, form.height):
        return np.ascontiguousarray(cut)
    return np.asarray(cv2.resize(np.ascontiguousarray(cut), (form.width, form.height), interpolation=way), np.uint8)


def _write_words(frame: Image, words: str) -> None:
    """A band with centred lines of text, in place."""
    height, width = frame.shape[:2]
    lines = words.split("\n")
    font, thickness = cv2.FONT_HERSHEY_DUPLEX, max(1, round(width / 320))
    unit = max(cv2.getTextSize(line, font, 1.0, thickness)[0][0] for line in lines)
    scale = min(0.9 * width / unit, 0.0035 * height)
    step = round(40 * scale)
    top = height - step * (len(lines) + 1)
    frame[max(top, 0) :] = (250, 250, 248)
    for number, line in enumerate(lines):
        across = cv2.getTextSize(line, font, scale, thickness)[0][0]
        place = ((width - across) // 2, top + round(step * (number + 1.1)))
        cv2.putText(frame, line, place, font, scale, (20, 20, 24), thickness, cv2.LINE_AA)


@contextmanager
def _wav(sound: Samples, beside: Path) -> Iterator[Path]:
    """A temporary 16-bit file of `sound`."""
    part = part_path(beside.with_suffix(".wav"))
    try:
        with wave.open(str(part), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(np.round(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
        yield part
    finally:
        part.unlink(missing_ok=True)
