"""Documents of `vast evaluate --json`: of a clip, and of the set with its summary."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli import __version__
from vast_cli.core import timebase
from vast_cli.core.errors import VastError
from vast_cli.core.timebase import FPS
from vast_cli.evaluate import statistics
from vast_cli.evaluate.flags import flags
from vast_cli.evaluate.measures import registry
from vast_cli.evaluate.measures.spec import Reading, Spec, in_order, missing, skill
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.clip import Observation, Pair
from vast_cli.evaluate.observation.crop import SIDE
from vast_cli.evaluate.observation.tracking import TrackedVideo

SCHEMA = "vast.evaluate/1"
DIGITS = 4  # of series
MOUTH_SQUARE = 2.2  # lip widths


@dataclass(frozen=True)
class ClipResult:
    """A measured clip: its document, its readings, and what measures of sets need of it."""

    document: dict[str, Any]
    readings: dict[str, Reading]
    collected: dict[str, Any]


# --- a clip ---------------------------------------------------------------------------------------------------------


def _pair_document(pair: Pair) -> dict[str, Any]:
    def text(path: object) -> str | None:
        return None if path is None else str(path)

    return {
        "id": pair.id,
        "output": str(pair.output),
        "reference": text(pair.reference),
        "audio": text(pair.audio),
        "style_reference": text(pair.style_reference),
        "footage": text(pair.footage),
        "speaker": pair.speaker,
        "avatar": pair.avatar,
    }


def unmeasured_document(pair: Pair) -> dict[str, Any]:
    """Document of a clip of which nothing was measured."""
    return _pair_document(pair) | {"error": None, "measures": {}, "flags": [], "notes": [], "series": None}


def failed_document(pair: Pair, error: VastError) -> dict[str, Any]:
    """Document of a clip that cannot be read."""
    return _pair_document(pair) | {"error": error.as_dict(), "measures": {}, "flags": [], "series": None}


def clip_document(clip: Observation, readings: dict[str, Reading]) -> dict[str, Any]:
    """Document of a measured clip."""
    video, audio = clip.output.video, clip.output.audio
    truth = None if clip.truth is None else clip.truth.video
    n = video.n_frames
    return {
        **_pair_document(clip.pair),
        "frames": n,
        "duration_s": timebase.seconds(n),
        "width": video.width,
        "height": video.height,
        "source_fps": video.source_fps,
        "truncated": video.truncated,
        "frames_lost": int((~video.present).sum()),
        "mouth_box": _mouth_box(video),
        "reference_mouth_box": None if truth is None else _mouth_box(truth),
        "notes": _notes(clip),
        "measures": {name: reading.document() for name, reading in readings.items()},
        "flags": flags(readings),
        "series": {
            "fps": FPS,
            "lip_gap": _series(landmarks.lip_gap(video.points)),
            "reference_lip_gap": None if truth is None else _series(landmarks.lip_gap(truth.points)),
            "loudness": None if audio is None else _series(audio.loudness(n)),
            "speech": None if audio is None else [int(x) for x in audio.speech(n)],
        },
        "error": None,
    }


def _mouth_box(video: TrackedVideo) -> list[int] | None:
    """Left, top, right, bottom of a square around the clip's mouths, pixels of the frame; for contact sheets."""
    if not video.present.any():
        return None
    lips = video.points[video.present][:, landmarks.MOUTH]
    x, y = np.median(lips.mean(1), axis=0)
    half = MOUTH_SQUARE / 2 * float(np.median(np.ptp(lips[..., 0], axis=1)))
    left, top = max(0, round(x - half)), max(0, round(y - half))
    return [left, top, min(video.width, round(x + half)), min(video.height, round(y + half))]


def _notes(clip: Observation) -> list[str]:
    """What a reader of the figures should know."""
    video, truth = clip.output.video, clip.truth
    notes = []
    if clip.mismatch is not None and clip.mismatch.hint is not None:
        notes.append(f"not compared frame by frame: {clip.mismatch.hint}")
    if truth is not None and truth.audio is None:
        notes.append("the reference has no audio; the controls of sync use the output's")
    if truth is not None and clip.mismatch is None and video.n_frames != truth.video.n_frames:
        notes.append("output and reference differ by a frame, which is left out")
    if video.truncated:
        notes.append("the file breaks off before its end")
    if abs(video.source_fps - FPS) > 0.01:
        notes.append(f"{video.source_fps:.2f} frames a second, converted to 25 by time stamp")
    return notes


def _series(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(x), DIGITS) if math.isfinite(x) else None for x in values]


# --- the set --------------------------------------------------------------------------------------------------------


def set_document(results: Sequence[ClipResult], clips: Sequence[dict[str, Any]], *, seed: int) -> dict[str, Any]:
    """Document of a set.

    Args:
        results: the clips that were measured.
        clips: documents of all clips, in order.
        seed: of the intervals.
    """
    return {
        "schema": SCHEMA,
        "version": f"vast {__version__}",
        "seed": seed,
        "set": {
            "clips": len(results),
            "failed": len(clips) - len(results),
            "frames": sum(result.document["frames"] for result in results),
            "speakers": len({result.document["speaker"] for result in results} - {None}) or None,
            "fps": FPS,
            "crop": SIDE,
            "resize": "area down, cubic up",
            "models": _model_names(results),
        },
        "measures": _summary(results, seed=seed),
        "clips": list(clips),
    }


def _model_names(results: Sequence[ClipResult]) -> dict[str, str]:
    names: dict[str, str] = {}
    for result in results:
        names.update(result.collected.get("models", {}))
    return names


def _summary(results: Sequence[ClipResult], *, seed: int) -> dict[str, Any]:
    """Every measure of the set, with its interval and its controls."""
    pooled = registry.pool([result.collected for result in results])
    summary = {}
    for name, spec in registry.SPECS.items():
        if name in registry.SET_SPECS:
            reading = pooled.get(name, missing("not_asked"))
            n = reading.n if reading.value is not None else 0
            summary[name] = _measure_document(spec, reading, ci95=reading.ci95, n=n)
        else:
            summary[name] = _mean_document(spec, results, seed=seed)
    return summary


def _mean_document(spec: Spec, results: Sequence[ClipResult], *, seed: int) -> dict[str, Any]:
    """Mean of a measure over the clips; without any value, the reason most clips give."""
    readings = [result.readings.get(spec.name, missing("not_asked")) for result in results]
    known = [
        (reading, result.document["speaker"])
        for reading, result in zip(readings, results, strict=True)
        if reading.value is not None
    ]
    if not known:
        reasons = Counter((reading.reason, reading.hint) for reading in readings).most_common(1)
        reason, hint = reasons[0][0] if reasons else ("too_few_clips", None)
        return _measure_document(spec, missing(reason or "not_asked", hint), ci95=None, n=0)
    values = [float(reading.value) for reading, _ in known if reading.value is not None]
    speakers = [speaker for _, speaker in known]
    groups = None if None in speakers else [str(speaker) for speaker in speakers]
    mean = Reading(float(np.mean(values)), controls=_mean_controls([reading for reading, _ in known]))
    return _measure_document(spec, mean, ci95=statistics.interval(values, groups=groups, seed=seed), n=len(values))


def _mean_controls(readings: Sequence[Reading]) -> dict[str, float | None]:
    """Means over the clips in which a control was measured beside the value."""
    names = list(dict.fromkeys(name for reading in readings for name in reading.controls))
    means: dict[str, float | None] = {}
    for name in names:
        values = [value for reading in readings if (value := reading.controls.get(name)) is not None]
        means[name] = float(np.mean(values)) if values else None
    return means


def _measure_document(spec: Spec, reading: Reading, *, ci95: tuple[float, float] | None, n: int) -> dict[str, Any]:
    controls = dict(reading.controls)
    # without a truth the controls are made from the output: it stands in their chains, but is no ceiling
    ordered = in_order(spec, {"real": reading.value, **controls, "made": reading.value})
    reason, hint = reading.reason, reading.hint
    if reading.value is not None and ordered is False:
        reason, hint = "control_failed", "its controls are not in order on these clips: do not trust it here"
    return {
        "value": reading.value,
        "ci95": None if ci95 is None else list(ci95),
        "n": n,
        "unit": spec.unit,
        "better": spec.better,
        "skill": skill(spec, reading.value, controls),
        "version": spec.version,
        "ceiling": controls.get(spec.ceiling or ""),
        "floor": controls.get(spec.floor or ""),
        "controls": controls,
        "valid": False if reading.value is None else True if spec.counts else ordered,
        "reason": reason,
        "hint": hint,
        "title": spec.title,
        "about": spec.about,
    }
