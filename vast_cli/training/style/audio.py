"""Audio for the style model: posteriorgrams with a cache, and how far the audio of clips is off their video."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vast_cli import media, records
from vast_cli.core import timebase
from vast_cli.core.arrays import Float32
from vast_cli.records import Posteriorgram
from vast_cli.speech import extract_ppg, load_acoustic_model
from vast_cli.speech.acoustic import AcousticModel
from vast_cli.store import assets
from vast_cli.training.style.corpus import StyleClip, interpolate_rows

log = logging.getLogger(__name__)

# The acoustic model was trained on many of the same clips, so its posteriors are sharper here than they will be on the
# audio of users. Augmented copies make up for it: noise (signal to noise in dB), another pace and with it another pitch
# and shorter or longer vocal tract (factor; its frames are put back in time).
COPIES: dict[str, tuple[float | None, float]] = {
    "clean": (None, 1),
    "noise15": (15.0, 1),
    "noise6": (6.0, 1),
    "slow": (None, 0.82),
    "fast": (None, 1.22),
}
MAX_SHIFT = 6  # PPG frames (120 ms) that `refine_shifts` may move the audio
MIN_GAIN = 0.03  # gain in r below which it leaves the audio where it is


def cached_posteriorgrams(acoustic: Path | None, cache: Path) -> tuple[Callable[[Path], list[Posteriorgram]], str]:
    """Function from a clip to its posteriorgrams (`COPIES`), cached by acoustic model, and that model's hash."""
    model = load_acoustic_model(acoustic if acoustic is not None else assets.find("acoustic"))
    folder = cache / model.hash

    def posteriorgrams(path: Path) -> list[Posteriorgram]:
        paths = {kind: folder / f"{path.parent.name}__{path.stem}.{kind}.ppg" for kind in COPIES}
        if not all(path.exists() for path in paths.values()):
            audio = media.load_audio(path)
            for kind, (noise_db, pace) in COPIES.items():
                augmented_posteriorgram(audio, model, noise_db=noise_db, pace=pace).save(paths[kind])
        return [records.load(Posteriorgram, path) for path in paths.values()]

    return posteriorgrams, model.hash


def augmented_posteriorgram(
    audio: Float32, model: AcousticModel, *, noise_db: float | None, pace: float
) -> Posteriorgram:
    """Posteriorgram of noisy, slower or faster audio, on the time axis of the audio as it was."""
    n = len(audio)
    if noise_db is not None:
        random = np.random.default_rng(n)
        level = float(np.sqrt(np.mean(audio**2) + 1e-12)) * 10 ** (-noise_db / 20)
        noise = np.convolve(random.standard_normal(n + 7), np.full(8, 8**-0.5), "valid")[:n]  # darker than white
        audio = (audio + level * noise).clip(-1, 1).astype(np.float32)
    if pace == 1.0:
        return extract_ppg([audio], model)
    played = np.interp(np.arange(int(n / pace)) * pace, np.arange(n), audio).astype(np.float32)
    values = extract_ppg([played], model).values
    frames = timebase.ppg_frames(n)
    # frame j has its centre at 20 ms (j + 1)
    back = interpolate_rows(values, (np.arange(frames) + 1) / pace - 1, outside=None)
    return Posteriorgram(values=back.astype(np.float32), n_samples=n, model_hash=model.hash)


def refine_shifts(clips: list[StyleClip], gaps: Callable[[StyleClip], tuple[Float32, Float32]]) -> dict[str, int]:
    """Move the audio of training clips to where the net's own lips fit best; returns all shifts by path, PPG frames.

    Half a frame is enough to blur closures, and the measures of the corpus are rough. Only clips of `talk` and `mead`
    are moved, by 120 ms at most, and only where the correlation gains.

    Args:
        clips: the training clips; their `shift` is changed.
        gaps: predicted and tracked lip gap of a clip.
    """
    moved = 0
    for clip in clips:
        if clip.set not in ("talk", "mead") or not clip.in_sync or clip.n_frames < 75:
            continue
        predicted, truth = gaps(clip)
        scores = {lag: _shifted_r(predicted, truth, lag) for lag in range(-MAX_SHIFT, MAX_SHIFT + 1)}
        best = max(scores, key=lambda lag: scores[lag])
        if scores[best] >= scores[0] + MIN_GAIN:
            clip.shift += best
            moved += 1
    log.info("moved the audio of %d clips", moved)
    return {clip.path: clip.shift for clip in clips if clip.ppgs}


def _shifted_r(predicted: Float32, truth: Float32, lag: int) -> float:
    """r with the prediction taken `lag` half frames later."""
    at = np.arange(len(truth)) + lag / 2
    return correlation(np.interp(at, np.arange(len(predicted)), predicted).astype(np.float32), truth)


def correlation(a: Float32, b: Float32) -> float:
    """Pearson's r of two series [n]; 0 where one does not move."""
    if len(a) < 3 or a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
