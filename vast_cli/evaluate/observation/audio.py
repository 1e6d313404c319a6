"""Speech of a clip: its samples, and which phones are spoken when."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vast_cli import media, speech
from vast_cli.core import files, timebase
from vast_cli.core.arrays import Float64
from vast_cli.core.errors import VastError
from vast_cli.pipeline.extract import MIN_SAMPLES
from vast_cli.pipeline.models import Models
from vast_cli.records import Posteriorgram

MIN_SPEECH_S = 1.0
BAND_HZ = (150.0, 3000.0)  # of the energy that the lips make
WINDOW = timebase.SAMPLES_PER_FRAME


@dataclass(frozen=True)
class SpeechAudio:
    """Audio from the first frame of its video on, with its posteriorgram."""

    samples: NDArray[np.float32]  # 16 kHz mono
    ppg: Posteriorgram

    def energy(self, n_frames: int) -> Float64:
        """Log energy of 150 - 3000 Hz in each video frame: [n_frames], natural logarithm."""
        needed = timebase.sample_at(n_frames)
        samples = np.pad(self.samples[:needed], (0, max(0, needed - len(self.samples)))).astype(np.float64)
        spectrum = np.abs(np.fft.rfft(samples.reshape(n_frames, WINDOW) * np.hanning(WINDOW), axis=1)) ** 2
        hertz = np.fft.rfftfreq(WINDOW, timebase.SAMPLE_S)
        in_band = (hertz >= BAND_HZ[0]) & (hertz <= BAND_HZ[1])
        energy: Float64 = np.log(1e-6 + spectrum[:, in_band].sum(1))
        return energy

    def loudness(self, n_frames: int) -> Float64:
        """Energy between 0 (its 5 % quantile, at most 50 dB below the peak) and 1 (the peak), for plots."""
        energy = self.energy(n_frames)
        low = max(float(np.quantile(energy, 0.05)), float(energy.max()) - 11.5)
        loudness: Float64 = np.clip((energy - low) / max(float(energy.max()) - low, 1e-6), 0, 1)
        return loudness

    def speech(self, n_frames: int) -> NDArray[np.bool_]:
        """[n_frames], whether the likeliest class is not silence; False after the end of the audio."""
        n_known = min(n_frames, self.ppg.n_frames)
        speech = np.zeros(n_frames, bool)
        if n_known:
            speech[:n_known] = self.ppg.at_video(0, n_known).argmax(1) != 0
        return speech


def load_speech(path: Path, models: Models, *, start_s: float | None = None) -> SpeechAudio:
    """The audio of a file with its posteriorgram.

    Raises:
        VastError: `vast_no_audio`, `vast_bad_media`, `vast_audio_too_short`, `vast_input_missing`.
    """
    files.check_input(path)
    samples = media.load_audio(path, start_s=start_s)
    if len(samples) < MIN_SAMPLES:
        raise VastError("vast_audio_too_short", f"`{path}` holds {timebase.audio_milliseconds(len(samples)):.0f} ms")
    return SpeechAudio(samples, speech.extract_ppg([samples], models.acoustic_model, where=path.name))
