"""What the tracker sees of a video, and what is heard of a sound: the first pass of every evaluation."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vast_cli import face, media, speech
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float32, Float64, Image
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.core.streams import prefetch
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.crop import CropBox, luma
from vast_cli.pipeline.extract import MIN_SAMPLES, face_choice
from vast_cli.pipeline.models import Models
from vast_cli.records import Posteriorgram

LOST_SHARE = 0.05  # of the frames without a face, beyond which nothing about faces is measured
MIN_SPEECH_S = 1.0
BAND_HZ = (150.0, 3000.0)  # of the energy that lips make
WINDOW = 640  # samples, one video frame


@dataclass(frozen=True)
class TrackedVideo:
    """One video at 25 fps as the tracker saw it. Frames without a face hold NaN points."""

    path: Path
    width: int
    height: int
    source_fps: float
    start_s: float  # container time of the first picture
    has_audio: bool
    truncated: bool  # the file broke off
    mesh: Float32  # [n, 478, 3], pixels
    brightness: Float32  # [n, 2], mean and standard deviation of luma
    mean_picture: Image

    @property
    def n_frames(self) -> int:
        """Pictures."""
        return len(self.mesh)

    @functools.cached_property
    def present(self) -> NDArray[np.bool_]:
        """[n], a face was found and its points are numbers."""
        return np.asarray(np.isfinite(self.mesh).all(axis=(1, 2)), bool)

    @property
    def lost(self) -> float:
        """Share of frames without a face."""
        return 1 - float(self.present.mean()) if self.n_frames else 1.0

    @functools.cached_property
    def points(self) -> Float64:
        """[n, 68, 2], iBUG points in pixels."""
        return self.mesh[:, landmarks.IBUG, :2].astype(np.float64)

    def box(self) -> CropBox | None:
        """The clip's crop box; None without a face."""
        seen = self.mesh[self.present][..., :2].astype(np.float64)
        return CropBox.around(seen.min(1), seen.max(1)) if len(seen) else None


def look(
    path: Path,
    model: face.FaceModel,
    *,
    which: str = "largest",
    also: Callable[[Image], None] | None = None,
    progress: Progress = silent,
) -> TrackedVideo:
    """Track a video from end to end; a video without a face is seen too, only without points.

    Args:
        path: any video.
        model: face model.
        which: which face, as `--face`.
        also: is given every picture.
        progress: told of every frame.

    Raises:
        VastError: `vast_input_missing`, `vast_bad_media`, `vast_option_invalid`.
    """
    files.check_input(path)
    info = media.probe(path)
    brightness: list[tuple[float, float]] = []
    total: NDArray[np.float32] | None = None

    def frames(reader: media.VideoReader) -> Iterator[Image]:
        nonlocal total
        for k, frame in enumerate(reader):
            mean, sd = cv2.meanStdDev(luma(frame))
            brightness.append((float(mean[0, 0]), float(sd[0, 0])))
            total = np.zeros(frame.shape, np.float32) if total is None else total
            cv2.accumulate(frame, total)
            if also is not None:
                also(frame)
            progress("track", k + 1, reader.n_frames)
            yield frame

    with media.VideoReader(path) as reader:
        try:
            track = face.track_landmarks(
                prefetch(frames(reader), depth=8), model, source=path.name, face=face_choice(which)
            )
            mesh = np.where(track.present[:, None, None], track.points, np.nan).astype(np.float32)
        except VastError as error:
            if error.code != "vast_no_face":
                raise
            mesh = np.full((len(brightness), 478, 3), np.nan, np.float32)
        if total is None:
            raise VastError("vast_bad_media", f"`{path}` holds no picture")
        return TrackedVideo(
            path=path,
            width=reader.width,
            height=reader.height,
            source_fps=info.fps,
            start_s=reader.start_s,
            has_audio=info.has_audio,
            truncated=reader.truncated,
            mesh=mesh,
            brightness=np.array(brightness, np.float32),
            mean_picture=np.clip(np.rint(total / len(brightness)), 0, 255).astype(np.uint8),
        )


@dataclass(frozen=True)
class SpeechAudio:
    """What is heard, from the first picture on."""

    samples: NDArray[np.float32]  # 16 kHz mono
    ppg: Posteriorgram

    def energy(self, n_frames: int) -> Float64:
        """Log energy of 150 - 3000 Hz in each video frame: [n_frames], natural logarithm."""
        need = n_frames * WINDOW
        samples = np.pad(self.samples[:need], (0, max(0, need - len(self.samples)))).astype(np.float64)
        spectrum = np.abs(np.fft.rfft(samples.reshape(n_frames, WINDOW) * np.hanning(WINDOW), axis=1)) ** 2
        hertz = np.fft.rfftfreq(WINDOW, 1 / timebase.SAMPLE_RATE)
        inside = (hertz >= BAND_HZ[0]) & (hertz <= BAND_HZ[1])
        energy: Float64 = np.log(1e-6 + spectrum[:, inside].sum(1))
        return energy

    def loudness(self, n_frames: int) -> Float64:
        """Energy between 0 (its 5 % quantile, at most 50 dB below the peak) and 1 (the peak): for drawings."""
        energy = self.energy(n_frames)
        low = max(float(np.quantile(energy, 0.05)), float(energy.max()) - 11.5)
        loudness: Float64 = np.clip((energy - low) / max(float(energy.max()) - low, 1e-6), 0, 1)
        return loudness

    def speech(self, n_frames: int) -> NDArray[np.bool_]:
        """[n_frames], the likeliest class is not silence; False after the end of the sound."""
        known = min(n_frames, self.ppg.n_frames)
        speech = np.zeros(n_frames, bool)
        if known:
            speech[:known] = self.ppg.at_video(0, known).argmax(1) != 0
        return speech


def hear(path: Path, models: Models, *, start_s: float | None = None) -> SpeechAudio:
    """The sound of a file and what is spoken in it.

    Raises:
        VastError: `vast_no_audio`, `vast_bad_media`, `vast_audio_too_short`, `vast_input_missing`.
    """
    files.check_input(path)
    samples = media.load_audio(path, start_s=start_s)
    if len(samples) < MIN_SAMPLES:
        raise VastError("vast_audio_too_short", f"`{path}` holds {1000 * len(samples) / timebase.SAMPLE_RATE:.0f} ms")
    return SpeechAudio(samples, speech.extract_ppg([samples], models.acoustic_model, where=path.name))
