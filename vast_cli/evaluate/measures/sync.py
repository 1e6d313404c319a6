"""Lips and sound: LagSync per clip, and the correlation of lip gap and energy over a set.

LagSync is our own network: its figures carry its name and do not compare with LSE-C and LSE-D.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli import sync
from vast_cli.core.arrays import Float32, Float64
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.clip import Observation
from vast_cli.evaluate.observation.frames import FrameMeasurements
from vast_cli.evaluate.observation.tracking import LOST_SHARE, MIN_SPEECH_S, SpeechAudio, TrackedVideo

MAX_LAG = 15  # frames
MIN_CLIPS = 10  # for `lip_audio_lag`
SWAP = 25  # frames: the mouth of 1 s later

SPECS = (
    Spec(
        "lagsync_lag", "Lag of the picture", "Frames that the picture is late, where LagSync finds the best fit.",
        "frames", "nearer_0", order=(("real", "delay_2", "delay_5"),),
    ),
    Spec(
        "lagsync_margin", "Lip sync, margin", "How far the best fit of mouth and sound stands out over other lags; "
        "says nothing about the lag itself.", "1", "nearer_truth", "real", "other_audio",
        (("other_audio_x2", "real"), ("mouth_swap", "real"), ("reversed", "real")),
    ),
    Spec(
        "lagsync_at0", "Lip sync, in step", "How well mouth and sound fit as they are, over other lags.", "1",
        "nearer_truth", "real", "other_audio", (("delay_5", "delay_2", "real"), ("other_audio", "real")),
    ),
    Spec(
        "lagsync_acc", "Lip sync, seconds in step", "Share of seconds whose best fit is within a frame.", "1", "higher",
        "real", "other_audio", (("other_audio", "real"),),
    ),
)  # fmt: skip
SET_SPECS = (
    Spec(
        "lip_audio_lag", "Lag by lip gap and energy", "Of the mean over clips; needs no network, says nothing of "
        "single clips.", "frames", "nearer_0", order=(("real", "delay_2", "delay_5"),),
    ),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """LagSync's figures of the output; the controls are made from the truth, else footage, else the output."""
    reason, hint = _unusable(clip)
    if reason is not None:
        return {spec.name: null(reason, hint) for spec in SPECS}
    assert clip.sound is not None
    made = clip.portraits["made"]
    network = _network(clip)
    mine = sync.score(made.mouth, _heard(network, clip.sound, clip.made), valid=made.mouth_valid)
    if mine is None:
        return {spec.name: null("too_short", "2 s of speech with a face are needed") for spec in SPECS}
    controls = _controls(clip, network)
    kept = clip.pair.footage_statistics
    if "real" not in controls and kept is not None and kept.lagsync_margin is not None:
        controls["real"] = {"lagsync_margin": kept.lagsync_margin}
    values = _figures(mine)
    return {
        spec.name: reading(
            values[spec.name],
            otherwise="too_short",
            controls={name: told[spec.name] for name, told in controls.items() if spec.name in told},
        )
        for spec in SPECS
    }


def _unusable(clip: Observation) -> tuple[str | None, str | None]:
    if clip.sound is None:
        return "no_speech", clip.no_sound
    if clip.sound.speech(clip.made.n_frames).sum() < MIN_SPEECH_S * FPS:
        return "no_speech", None
    if "made" not in clip.portraits or clip.made.lost > LOST_SHARE:
        return "no_face", None
    if clip.lagsync is None:
        return "no_weights", None
    return None, None


def _network(clip: Observation) -> sync.LagSync:
    assert clip.lagsync is not None
    return clip.lagsync


def _heard(network: sync.LagSync, sound: SpeechAudio, sight: TrackedVideo) -> Float32:
    return network.embed_sound(sound.samples, min(sight.n_frames, max(sound.ppg.n_frames, 1)))


def _figures(score: sync.LagScore) -> dict[str, float | None]:
    return {
        "lagsync_lag": float(score.lag),
        "lagsync_margin": score.margin,
        "lagsync_at0": score.at0,
        "lagsync_acc": score.acc,
    }


def _controls(clip: Observation, network: sync.LagSync) -> dict[str, dict[str, float | None]]:
    """Figures of the real video and of what spoils its sync; without one the output is spoilt, `real` is missing."""
    real = _real(clip)
    sight, portrait, sound = real or (clip.made, clip.portraits["made"], clip.sound)
    assert sound is not None
    heard = _heard(network, sound, sight)
    cases: dict[str, tuple[Float32, Float32, NDArray[np.bool_]]] = {
        "delay_2": _late(portrait, heard, 2),
        "delay_5": _late(portrait, heard, 5),
        "mouth_swap": _late(portrait, heard, -SWAP),
    }
    if len(portrait.mouth_reversed):
        cases["reversed"] = portrait.mouth_reversed[::-1], heard, portrait.mouth_valid[::-1]
    if real is not None:
        cases["real"] = portrait.mouth, heard, portrait.mouth_valid
    if clip.other_sound is not None:
        foreign = _heard(network, clip.other_sound, sight)
        cases["other_audio"] = (portrait.mouth[: len(foreign)], foreign, portrait.mouth_valid[: len(foreign)])
    scores = {name: sync.score(mouth, told, valid=valid) for name, (mouth, told, valid) in cases.items()}
    found = {name: _figures(score) for name, score in scores.items() if score is not None}
    if "other_audio" in found:  # the truth must stand out more than twice as far as a foreign sound
        margin = found["other_audio"]["lagsync_margin"]
        found["other_audio_x2"] = {"lagsync_margin": None if margin is None else 2 * margin}
    return found


def _real(clip: Observation) -> tuple[TrackedVideo, FrameMeasurements, SpeechAudio] | None:
    """The truth, else footage with sound; None where neither shows a face and speaks."""
    if clip.truth is not None and "truth" in clip.portraits and clip.truth.lost <= LOST_SHARE:
        sound = clip.truth_sound or clip.sound
        return None if sound is None else (clip.truth, clip.portraits["truth"], sound)
    if clip.footage is not None and "footage" in clip.portraits and clip.footage.lost <= LOST_SHARE:
        sound = clip.footage_sound
        spoken = sound is not None and sound.speech(clip.footage.n_frames).sum() >= MIN_SPEECH_S * FPS
        return (clip.footage, clip.portraits["footage"], sound) if sound is not None and spoken else None
    return None


def _late(portrait: FrameMeasurements, heard: Float32, frames: int) -> tuple[Float32, Float32, NDArray[np.bool_]]:
    """The video late by `frames` (early if negative); what would stand before its beginning is left out."""
    if frames >= 0:
        return portrait.mouth, heard[frames:], portrait.mouth_valid
    return portrait.mouth[-frames:], heard, portrait.mouth_valid[-frames:]


# --- sets -----------------------------------------------------------------------------------------------------------


def collect(clip: Observation) -> dict[str, Any]:
    """What `pool` needs of a clip: correlations of lip gap and energy at all lags."""
    if _unusable(clip)[0] is not None:
        return {}
    assert clip.sound is not None
    made = _curve(clip.made, clip.sound)
    real = made
    if clip.truth is not None and clip.truth.lost <= LOST_SHARE:
        real = _curve(clip.truth, clip.truth_sound or clip.sound)
    return {} if made is None or real is None else {"lip_audio": {"made": made, "real": real}}


def _curve(sight: TrackedVideo, sound: SpeechAudio) -> Float64 | None:
    """[2 * MAX_LAG + 6], lags -15 .. 20 so that delays by up to 5 frames are cuts of it."""
    n = min(sight.n_frames, sound.ppg.n_frames)
    gap, energy = landmarks.lip_gap(sight.points[:n]), sound.energy(n)
    known = np.isfinite(gap)
    curve = []
    for lag in range(-MAX_LAG - 5, MAX_LAG + 1):
        seen = slice(max(lag, 0), n + min(lag, 0))
        told = slice(max(-lag, 0), n - max(lag, 0))
        a, b = gap[seen][known[seen]], energy[told][known[seen]]
        if len(a) < FPS or a.std() < 1e-9 or b.std() < 1e-9:
            return None
        curve.append(float(np.corrcoef(a, b)[0, 1]))
    return np.array(curve)


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """The set's lag: correlations are averaged over clips before the best lag is taken."""
    curves = [clip["lip_audio"] for clip in collected if "lip_audio" in clip]
    if len(curves) < MIN_CLIPS:
        return {"lip_audio_lag": null("too_few_clips", f"{len(curves)} of {MIN_CLIPS} clips with speech and a face")}
    made, real = (np.mean([curve[name] for curve in curves], axis=0) for name in ("made", "real"))
    controls = {"real": _best(real, 0), "delay_2": _best(real, 2), "delay_5": _best(real, 5)}
    found = reading(_best(made, 0), otherwise="too_few_clips", controls=controls)
    return {"lip_audio_lag": Reading(found.value, controls=found.controls, n=len(curves))}


def _best(curve: Float64, delay: int) -> float:
    """Best lag of the video late by `delay`, of the lags -15 .. 15: [36] -> frames."""
    start = 5 - delay
    return float(curve[start : start + 2 * MAX_LAG + 1].argmax() - MAX_LAG)
