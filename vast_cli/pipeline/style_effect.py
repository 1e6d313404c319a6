"""What a style does to a face that speaks: predicted on the example's audio, in numbers and in words."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vast_cli import expression
from vast_cli.core import timebase
from vast_cli.core.arrays import Float32
from vast_cli.face.features import FEATURES, count_blinks, eye_opening, face_features
from vast_cli.pipeline.extract import extract_speech
from vast_cli.pipeline.models import Models
from vast_cli.records import Posteriorgram
from vast_cli.store import assets

SECONDS = 60  # predicted, so that blinks can be counted
NOTICED = 0.5  # percent of the eye distance: smaller changes of a level are not put in words
LIVELIER, CALMER = 1.2, 0.8  # ratios of spreads beyond which they are put in words
MOST_WORDS = 5  # phrases about one style
# feature -> what people say if it grows, and if it shrinks
PHRASES = {
    "mouth corners": ("mouth corners up", "mouth corners down"),
    "lip opening": ("lips further apart", "lips closer together"),
    "mouth width": ("mouth wider", "mouth narrower"),
    "inner brows": ("inner brows up", "inner brows down"),
    "outer brows": ("outer brows up", "outer brows down"),
    "brow distance": ("brows apart", "brows drawn together"),
    "lids": ("eyes wider open", "eyes narrower"),
}
LIVELINESS = {"lip opening": "lips", "inner brows": "brows"}  # feature -> what moves


@dataclass(frozen=True)
class StyleEffect:
    """How a face speaks in a style.

    Attributes:
        levels: feature -> mean, percent of the distance of the outer eye corners over the face without expression.
        spreads: feature -> standard deviation over time, percent of the same distance.
        blinks_per_minute: how often the eyes shut.
    """

    levels: Mapping[str, float]
    spreads: Mapping[str, float]
    blinks_per_minute: float

    def document(self) -> dict[str, object]:
        """The effect as JSON."""
        return dataclasses.asdict(self)


def measure_effect(vector: Float32, models: Models, *, seed: int = 0) -> StyleEffect:
    """Let the mean face speak the example's audio, repeated for a minute, in a style.

    Args:
        vector: [d_s], the style vector s.
        models: shared networks.
        seed: of the samples of D^ar.

    Raises:
        VastError: `vast_model_mismatch` for a style of another model, `vast_input_missing` without the example.
    """
    spoken = np.concatenate(
        list(expression.predict(_example_speech(models), vector, models.expression_model, seed=seed))
    )
    features = face_features(spoken, models.face_model)
    blinks = count_blinks(eye_opening(spoken, models.face_model.v_bar, models.face_model))
    return StyleEffect(
        levels={name: float(features[name].mean()) for name in FEATURES},
        spreads={name: float(features[name].std()) for name in FEATURES},
        blinks_per_minute=60 * blinks / timebase.seconds(len(spoken)),
    )


def _example_speech(models: Models) -> Posteriorgram:
    """Speech of the shipped example, as often as fills a minute."""
    ppg = extract_speech(assets.data_folder("examples") / "speech.flac", models)
    values = np.tile(ppg.values, (math.ceil(SECONDS / timebase.audio_seconds(ppg.n_samples)), 1))
    return dataclasses.replace(ppg, values=values, n_samples=timebase.ppg_samples(len(values)))


def describe(effect: StyleEffect, reference: StyleEffect) -> list[str]:
    """What people would say of a style beside another one, the most striking first; [] if the two look alike."""
    remarks: list[tuple[float, str]] = []
    for name, (more, less) in PHRASES.items():
        change = effect.levels[name] - reference.levels[name]
        remarks.append((abs(change) / NOTICED, more if change > 0 else less))
    for name, what in LIVELINESS.items():
        ratio = effect.spreads[name] / max(reference.spreads[name], 1e-6)
        limit = LIVELIER if ratio > 1 else CALMER
        striking = abs(np.log(max(ratio, 1e-6)) / np.log(limit))
        remarks.append((float(striking), f"{what} move {'more' if ratio > 1 else 'less'}"))
    noticed = sorted((remark for remark in remarks if remark[0] >= 1), reverse=True)
    return [phrase for _, phrase in noticed[:MOST_WORDS]]
