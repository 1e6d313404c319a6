"""Lips and audio: LagSync per clip, and the correlation of lip gap and energy over a set.

LagSync is our own network: its figures carry its name and do not compare with LSE-C and LSE-D.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vast_cli import sync
from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Float64
from vast_cli.core.timebase import FPS
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.audio import MIN_SPEECH_S, SpeechAudio
from vast_cli.evaluate.observation.clip import Observation, ObservedVideo
from vast_cli.evaluate.observation.frames import FrameMeasurements
from vast_cli.evaluate.observation.tracking import LOST_SHARE, TrackedVideo

MAX_LAG = 15  # frames
MIN_CLIPS = 10  # for `lip_audio_lag`
SWAP_DISTANCE = 25  # frames: the mouth of 1 s later

SPECS = (
    Spec(
        "lagsync_lag", "Lag of the video", "Frames that the video is late, where LagSync finds the best fit.",
        "frames", "nearer_0", order=(("real", "delay_2", "delay_5"),),
    ),
    Spec(
        "lagsync_margin", "Lip sync, margin", "How far the best fit of mouth and audio stands out over other lags; "
        "says nothing about the lag itself.", "1", "nearer_truth", "real", "other_audio",
        (("other_audio_x2", "real"), ("mouth_swap", "real"), ("reversed", "real")),
    ),
    Spec(
        "lagsync_at0", "Lip sync, in step", "How well mouth and audio fit as they are, over other lags.", "1",
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
    unmeasurable = _unmeasurable(clip)
    if unmeasurable is not None:
        return {spec.name: unmeasurable for spec in SPECS}
    network, frames, audio = clip.lagsync, clip.output.frames, clip.output.audio
    assert network is not None and frames is not None and audio is not None
    score = sync.score(frames.mouth, _embed_audio(network, audio, clip.output.video), valid=frames.mouth_valid)
    if score is None:
        return {spec.name: missing("too_short", "2 s of speech with a face are needed") for spec in SPECS}
    controls = _controls(clip, network)
    statistics = clip.pair.footage_statistics
    if "real" not in controls and statistics is not None and statistics.lagsync_margin is not None:
        controls["real"] = {"lagsync_margin": statistics.lagsync_margin}
    values = _figures(score)
    return {
        spec.name: reading(
            values[spec.name],
            otherwise="too_short",
            controls={name: figures[spec.name] for name, figures in controls.items() if spec.name in figures},
        )
        for spec in SPECS
    }


def _unmeasurable(clip: Observation) -> Reading | None:
    """Why the clip's sync cannot be measured; None if it can."""
    audio = clip.output.audio
    if audio is None:
        return missing("no_speech", clip.no_audio)
    if audio.speech(clip.output.video.n_frames).sum() < timebase.to_frames(MIN_SPEECH_S):
        return missing("no_speech")
    if clip.output.frames is None or clip.output.video.lost_share > LOST_SHARE:
        return missing("no_face")
    return missing("no_weights") if clip.lagsync is None else None


def _embed_audio(network: sync.LagSync, audio: SpeechAudio, video: TrackedVideo) -> Float32:
    return network.embed_audio(audio.samples, min(video.n_frames, max(audio.ppg.n_frames, 1)))


def _figures(score: sync.LagScore) -> dict[str, float | None]:
    return {
        "lagsync_lag": float(score.lag),
        "lagsync_margin": score.margin,
        "lagsync_at0": score.at0,
        "lagsync_acc": score.acc,
    }


def _controls(clip: Observation, network: sync.LagSync) -> dict[str, dict[str, float | None]]:
    """Figures of the real video and of copies out of sync; made from the output, without `real`, if there is none."""
    real = _real(clip)
    source = real or clip.output
    video, frames = source.video, source.frames
    assert frames is not None and source.audio is not None
    audio = _embed_audio(network, source.audio, video)
    cases: dict[str, tuple[Float32, Float32, NDArray[np.bool_]]] = {
        "delay_2": _delayed(frames, audio, 2),
        "delay_5": _delayed(frames, audio, 5),
        "mouth_swap": _delayed(frames, audio, -SWAP_DISTANCE),
    }
    if len(frames.mouth_reversed):
        cases["reversed"] = frames.mouth_reversed[::-1], audio, frames.mouth_valid[::-1]
    if real is not None:
        cases["real"] = frames.mouth, audio, frames.mouth_valid
    if clip.other_audio is not None:
        other = _embed_audio(network, clip.other_audio, video)
        cases["other_audio"] = (frames.mouth[: len(other)], other, frames.mouth_valid[: len(other)])
    scores = {name: sync.score(mouth, speech, valid=valid) for name, (mouth, speech, valid) in cases.items()}
    controls = {name: _figures(score) for name, score in scores.items() if score is not None}
    if "other_audio" in controls:  # the truth must stand out more than twice as far as the audio of another clip
        margin = controls["other_audio"]["lagsync_margin"]
        controls["other_audio_x2"] = {"lagsync_margin": None if margin is None else 2 * margin}
    return controls


def _real(clip: Observation) -> ObservedVideo | None:
    """The truth, else footage with speech; None where neither shows a face and has audio."""
    truth, footage = clip.truth, clip.footage
    if truth is not None and truth.frames is not None and truth.video.lost_share <= LOST_SHARE:
        audio = truth.audio or clip.output.audio
        return None if audio is None else ObservedVideo(truth.video, truth.frames, audio)
    if footage is not None and footage.frames is not None and footage.video.lost_share <= LOST_SHARE:
        audio = footage.audio
        speaks = audio is not None and audio.speech(footage.video.n_frames).sum() >= timebase.to_frames(MIN_SPEECH_S)
        return footage if speaks else None
    return None


def _delayed(frames: FrameMeasurements, audio: Float32, delay: int) -> tuple[Float32, Float32, NDArray[np.bool_]]:
    """The video late by `delay` frames (early if negative), without the frames before its start."""
    if delay >= 0:
        return frames.mouth, audio[delay:], frames.mouth_valid
    return frames.mouth[-delay:], audio, frames.mouth_valid[-delay:]


# --- sets -----------------------------------------------------------------------------------------------------------


def collect(clip: Observation) -> dict[str, Any]:
    """What `pool` needs of a clip: correlations of lip gap and energy at all lags."""
    if _unmeasurable(clip) is not None:
        return {}
    assert clip.output.audio is not None
    output = _lag_curve(clip.output.video, clip.output.audio)
    real = output
    if clip.truth is not None and clip.truth.video.lost_share <= LOST_SHARE:
        real = _lag_curve(clip.truth.video, clip.truth.audio or clip.output.audio)
    return {} if output is None or real is None else {"lip_audio": {"made": output, "real": real}}


def _lag_curve(video: TrackedVideo, audio: SpeechAudio) -> Float64 | None:
    """[2 * MAX_LAG + 6], correlations at lags -20 .. 15, so that delays by up to 5 frames are cuts of it."""
    n = min(video.n_frames, audio.ppg.n_frames)
    gap, energy = landmarks.lip_gap(video.points[:n]), audio.energy(n)
    known = np.isfinite(gap)
    curve = []
    for lag in range(-MAX_LAG - 5, MAX_LAG + 1):
        of_video = slice(max(lag, 0), n + min(lag, 0))
        of_audio = slice(max(-lag, 0), n - max(lag, 0))
        a, b = gap[of_video][known[of_video]], energy[of_audio][known[of_video]]
        if len(a) < FPS or a.std() < 1e-9 or b.std() < 1e-9:
            return None
        curve.append(float(np.corrcoef(a, b)[0, 1]))
    return np.array(curve)


def pool(collected: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """The set's lag: correlations are averaged over clips before the best lag is taken."""
    curves = [clip["lip_audio"] for clip in collected if "lip_audio" in clip]
    if len(curves) < MIN_CLIPS:
        hint = f"{len(curves)} of {MIN_CLIPS} clips with speech and a face"
        return {"lip_audio_lag": missing("too_few_clips", hint)}
    output, real = (np.mean([curve[name] for curve in curves], axis=0) for name in ("made", "real"))
    controls = {"real": _best_lag(real, 0), "delay_2": _best_lag(real, 2), "delay_5": _best_lag(real, 5)}
    result = reading(_best_lag(output, 0), otherwise="too_few_clips", controls=controls)
    return {"lip_audio_lag": Reading(result.value, controls=result.controls, n=len(curves))}


def _best_lag(curve: Float64, delay: int) -> float:
    """Best lag of the video late by `delay`, of the lags -15 .. 15: [36] -> frames."""
    start = 5 - delay
    return float(curve[start : start + 2 * MAX_LAG + 1].argmax() - MAX_LAG)
