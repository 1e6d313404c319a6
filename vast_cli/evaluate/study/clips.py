"""Encodes the videos that raters see: all with the same size, crop, length, audio format and codec, and no metadata."""

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

from vast_cli.core import timebase
from vast_cli.core.arrays import Image
from vast_cli.core.errors import VastError
from vast_cli.core.files import part_path
from vast_cli.core.timebase import SAMPLE_RATE
from vast_cli.evaluate.study.loudness import Samples
from vast_cli.evaluate.study.manifest import StudyEntry, StudyManifest
from vast_cli.evaluate.study.questions import TRUTH
from vast_cli.media import VideoFormat, VideoReader, VideoWriter, load_audio, probe

CRF = 16
MAX_SIDE = 720  # px
MAX_SECONDS = 60.0  # of one video: raters do not remember longer ones
MAX_LENGTH_DIFFERENCE = 5  # frames, between the videos of one sentence
HEADER_TOLERANCE = 2  # frames that a header may count too many; the last frame replaces them
ASPECT_TOLERANCE = 0.02  # relative; a smaller crop is rounding
INSTRUCTION_START = 0.3  # share of the clip after which the frames ask for a button


@dataclass(frozen=True)
class StudySource:
    """A video of the table and its size."""

    entry: StudyEntry
    width: int
    height: int
    n_frames: int


@dataclass(frozen=True)
class ClipFormat:
    """The common format of all clips; lengths are per sentence."""

    width: int
    height: int
    n_frames: dict[str, int]  # by sentence
    cropped: tuple[int, ...]  # rows whose video has another aspect
    trimmed: tuple[int, ...]  # rows cut to the length of the shortest video


def inspect_videos(manifest: StudyManifest) -> tuple[list[StudySource], list[str]]:
    """Open every video; return those that can be shown, and the faults of the others with their rows."""
    sources, faults = [], []
    for entry in manifest.entries:
        try:
            reader = VideoReader(entry.video)
            source = StudySource(entry, reader.width, reader.height, reader.n_frames)
            if not probe(entry.video).has_audio:
                faults.append(f"row {entry.row}: `{entry.video}` has no audio")
            elif source.n_frames > timebase.to_frames(MAX_SECONDS):
                faults.append(f"row {entry.row}: `{entry.video}` lasts longer than {MAX_SECONDS:.0f} s")
            else:
                sources.append(source)
        except VastError as error:
            faults.append(f"row {entry.row}: {error.message}")
    for sentence in manifest.sentences:
        of_sentence = [source for source in sources if source.entry.sentence == sentence]
        middle = median([source.n_frames for source in of_sentence]) if of_sentence else 0
        others = f"the others of `{sentence}` {timebase.seconds(middle):.2f} s"
        faults += [
            f"row {source.entry.row}: {timebase.seconds(source.n_frames):.2f} s, {others}"
            for source in of_sentence
            if abs(source.n_frames - middle) > MAX_LENGTH_DIFFERENCE
        ]
    return sources, faults


def common_format(sources: Sequence[StudySource]) -> ClipFormat:
    """The median size of the truth, or of all without it; the shortest length of each sentence."""
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
    return ClipFormat(
        width=max(2, 2 * round(width * scale / 2)),
        height=max(2, 2 * round(height * scale / 2)),
        n_frames=n_frames,
        cropped=tuple(
            s.entry.row for s in sources if abs(s.width / s.height / (width / height) - 1) > ASPECT_TOLERANCE
        ),
        trimmed=tuple(s.entry.row for s in sources if s.n_frames > n_frames[s.entry.sentence]),
    )


def read_audio(source: StudySource, n_frames: int) -> Samples:
    """The audio of a video from its first frame on, exactly as long as `n_frames` frames."""
    samples = load_audio(source.entry.video, start_s=VideoReader(source.entry.video).start_s)
    return fit_length(samples, n_frames)


def fit_length(samples: Samples, n_frames: int) -> Samples:
    """Cut audio to the length of `n_frames`, or pad it with silence."""
    length = timebase.sample_at(n_frames)
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))


def write_clip(
    path: Path,
    source: StudySource,
    clip_format: ClipFormat,
    samples: Samples,
    *,
    delay: int = 0,
    instruction: str | None = None,
) -> None:
    """Encode one clip.

    Args:
        path: `.mp4`; replaced if it exists.
        source: of the frames.
        clip_format: of all clips.
        samples: [n] mono audio at 16 kHz, as long as the frames.
        delay: frames by which the video is late; meanwhile the first frame is repeated.
        instruction: lines of text over the lower part of the frames.
    """
    n_frames = clip_format.n_frames[source.entry.sentence]
    count = 0
    with _wav(samples, path) as wav:
        # the same settings for all clips: encoding artefacts must not reveal the method
        writer = VideoWriter(
            path,
            VideoFormat(clip_format.width, clip_format.height, crf=CRF),
            audio=wav,
            n_frames=n_frames,
            n_samples=len(samples),
            overwrite=True,
        )
        with writer as out:
            for frame in _frames(source, clip_format, n_frames=n_frames, delay=delay):
                if instruction is not None and count >= INSTRUCTION_START * n_frames:
                    _draw_instruction(frame, instruction)
                out.write(frame)
                count += 1
    os.utime(path, (0, 0))  # the time of writing would reveal the order of methods


def _frames(source: StudySource, clip_format: ClipFormat, *, n_frames: int, delay: int) -> Iterator[Image]:
    count = 0
    with VideoReader(source.entry.video) as reader:
        for decoded in islice(reader, n_frames):
            frame = _fit_frame(decoded, clip_format)
            for _ in range(delay + 1 if count == 0 else 1):
                if count < n_frames:
                    yield frame.copy()
                    count += 1
    for _ in range(n_frames - count if n_frames - count <= HEADER_TOLERANCE else 0):
        yield frame.copy()
        count += 1
    if count < n_frames:
        message = f"`{source.entry.video}` breaks off after {count} of {n_frames} frames"
        raise VastError("vast_bad_media", message, where=f"row {source.entry.row}")


def _fit_frame(frame: Image, clip_format: ClipFormat) -> Image:
    """Crop to the common aspect around the centre, then resize."""
    height, width = frame.shape[:2]
    aspect = clip_format.width / clip_format.height
    crop_width, crop_height = min(width, round(height * aspect)), min(height, round(width / aspect))
    if abs(width / height / aspect - 1) <= ASPECT_TOLERANCE:
        crop_width, crop_height = width, height
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    crop = np.ascontiguousarray(frame[top : top + crop_height, left : left + crop_width])
    size = (clip_format.width, clip_format.height)
    if (crop_width, crop_height) == size:
        return crop
    interpolation = cv2.INTER_AREA if crop_height > clip_format.height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, size, interpolation=interpolation), np.uint8)


def _draw_instruction(frame: Image, text: str) -> None:
    """Draw a band with centred lines of text, in place."""
    height, width = frame.shape[:2]
    lines = text.split("\n")
    font, thickness = cv2.FONT_HERSHEY_DUPLEX, max(1, round(width / 320))
    unit_width = max(cv2.getTextSize(line, font, 1.0, thickness)[0][0] for line in lines)
    scale = min(0.9 * width / unit_width, 0.0035 * height)
    step = round(40 * scale)
    top = height - step * (len(lines) + 1)
    frame[max(top, 0) :] = (250, 250, 248)
    for number, line in enumerate(lines):
        text_width = cv2.getTextSize(line, font, scale, thickness)[0][0]
        position = ((width - text_width) // 2, top + round(step * (number + 1.1)))
        cv2.putText(frame, line, position, font, scale, (20, 20, 24), thickness, cv2.LINE_AA)


@contextmanager
def _wav(samples: Samples, target: Path) -> Iterator[Path]:
    """A temporary 16-bit file of `samples`, beside `target`."""
    part = part_path(target.with_suffix(".wav"))
    try:
        with wave.open(str(part), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        yield part
    finally:
        part.unlink(missing_ok=True)
