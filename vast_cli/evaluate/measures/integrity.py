"""Faults that a viewer sees without knowing the truth: the measures `vast batch` gates on, here without limits.

Ratios are to real footage of the person (`--footage`, else the truth, else the statistics of an avatar's own footage);
people wait with open lips and some never blink in 3 s, so no absolute rule would hold.
"""

import json

import numpy as np
from numpy.typing import NDArray

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float64
from vast_cli.evaluate.footage.statistics import FootageStatistics
from vast_cli.evaluate.measures.spec import Reading, Spec, missing, reading
from vast_cli.evaluate.measures.values import mean
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.audio import SpeechAudio
from vast_cli.evaluate.observation.clip import Observation, ObservedVideo
from vast_cli.evaluate.observation.crop import SIDE
from vast_cli.evaluate.observation.tracking import LOST_SHARE, TrackedVideo
from vast_cli.pipeline import sidecar
from vast_cli.speech import CLASSES

DARK, LIT, FLAT = 16.0, 32.0, 2.0  # luma: below, a frame is black; above, footage is lit; sd below which it is blank
FROZEN = 0.05  # luma
MIN_SILENCE = 7  # frames, 0.28 s
EDGE = 3  # frames of a silence at each end that still belong to speech
CLOSING = ("P", "B", "M")
CLOSING_POSTERIOR = 0.6
NEAR = 2  # frames around a closure
SHUT_QUANTILE = 0.1
JITTER_PX = 0.5  # of the 256 px crop
BLINK_SHUT, BLINK_OPEN = 0.6, 0.8  # of the 80 % quantile of the eyes' opening
BLINK_FRAMES = (2, 12)
MIN_BLINK_S = 15.0
OTHER_SCALE = 1.15  # with a face so many times larger or smaller than in the footage, detail does not compare

_REAL = "footage or reference"
SPECS = (
    Spec("av_length_diff_ms", "Video less audio", "How much longer the video lasts than its own audio.", "ms",
         "nearer_0", counts=True),
    Spec("black_frames", "Black frames", "Black or blank frames.", "frames", "lower", counts=True),
    Spec("frozen_run", "Frozen frames", "Longest run of frames without change while there is speech.", "frames",
         "lower", counts=True),
    Spec("face_lost", "Face lost", "Share of frames without a face.", "1", "lower", counts=True),
    Spec("sharpness", "Sharpness of the mouth", "Finest detail around the lips over real footage.", "1", "nearer_1",
         order=(("blur_1", "half"),), needs=_REAL),
    Spec("flicker_ratio", "Flicker", "Second difference in time of the stabilised face over real footage.", "1",
         "nearer_1", order=(("half", "gain"),), needs=_REAL),
    Spec("lip_accel_ratio", "Lip tremble", "Second difference in time of the lip points over real footage.", "1",
         "nearer_1", order=(("half", "jitter"),), needs=_REAL),
    Spec("silence_gap", "Lips in silence", "Median lip gap in silences, as quantile of the footage's in its silences.",
         "1", "in_range", needs=_REAL),
    Spec("silence_motion", "Lips moving in silence", "Standard deviation of the lip gap in silence over that in "
         "speech.", "1", "lower"),
    Spec("bilabial_closure", "Closures at P, B, M", "Share whose lip gap falls below the footage's "
         f"{100 * SHUT_QUANTILE:g} % quantile.", "1",
         "nearer_truth", order=(("delay_5", "real"),), needs=_REAL),
    Spec("blink_rate", "Blinks", "Closures of the eyes a minute.", "1/min", "nearer_truth"),
    Spec("limited_share", "Frames held back", "Share of frames where the avatar's range held motion back, from the "
         "sidecar.", "1", "lower", needs="sidecar", counts=True),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """All faults of one clip."""
    return {
        "av_length_diff_ms": _length_difference(clip),
        "black_frames": _black_frames(clip),
        "frozen_run": _frozen_run(clip),
        "face_lost": Reading(clip.output.video.lost_share),
        "limited_share": _limited_share(clip),
        **_footage_ratios(clip),
        **_silence(clip),
        "bilabial_closure": _bilabial_closure(clip),
        "blink_rate": _blink_rate(clip),
    }


def real_statistics(clip: Observation) -> FootageStatistics | None:
    """What this clip's ratios divide by: real footage where it was given, else the avatar's footage statistics."""
    return clip.pair.footage_statistics if clip.real is None else statistics_of(clip.real)


def statistics_of(footage: ObservedVideo) -> FootageStatistics:
    """Statistics of real footage, as far as this file's measures need them."""
    video, frames, audio = footage.video, footage.frames, footage.audio
    assert frames is not None
    silent = np.zeros(0, bool) if audio is None else silent_frames(audio, video.n_frames) & video.present
    gaps = landmarks.lip_gap(video.points[silent]) if silent.any() else np.zeros(0)
    shut = _shut_gap(video)
    box = video.crop_box()
    long_enough = video.n_frames >= timebase.to_frames(MIN_BLINK_S)
    return FootageStatistics(
        brightness=float(np.median(video.brightness[:, 0])),
        sharpness=mean(frames.sharpness),
        flicker=mean(frames.flicker),
        lip_acceleration=mean(lip_acceleration(video)),
        shut=shut,
        silence_gaps=tuple(np.sort(gaps).tolist()),
        bilabial_closure=None if audio is None or shut is None else closure_share(video, audio, shut),
        blink_rate=blink_rate(video) if long_enough and video.present.any() else None,
        face_px=0.0 if box is None else float(box.side),
        seconds=timebase.seconds(video.n_frames),
    )


def _shut_gap(video: TrackedVideo) -> float | None:
    gaps = landmarks.lip_gap(video.points[video.present])
    return float(np.quantile(gaps, SHUT_QUANTILE)) if len(gaps) else None


# --- frames ---------------------------------------------------------------------------------------------------------


def _length_difference(clip: Observation) -> Reading:
    if clip.n_own_samples is None:
        return missing("no_speech", clip.no_audio or "the output has no audio of its own")
    return Reading(1000 * (timebase.seconds(clip.output.video.n_frames) - timebase.audio_seconds(clip.n_own_samples)))


def _black_frames(clip: Observation) -> Reading:
    means, sds = clip.output.video.brightness.T
    statistics = clip.pair.footage_statistics
    if clip.real is not None:
        usual = float(np.median(clip.real.video.brightness[:, 0]))
    else:
        usual = float(np.median(means)) if statistics is None else statistics.brightness
    return Reading(float(black_frames(means, sds, lit=usual > LIT).sum()))


def black_frames(means: NDArray[np.float32], sds: NDArray[np.float32], *, lit: bool) -> Bools:
    """[n], frames that are dark though the footage is lit, or blank."""
    black: Bools = (sds < FLAT) | ((means < DARK) & lit)
    return black


def _frozen_run(clip: Observation) -> Reading:
    if clip.output.frames is None:
        return missing("no_face")
    still = clip.output.frames.change < FROZEN
    if clip.output.audio is not None:
        still &= clip.output.audio.speech(len(still))
    return Reading(float(longest_run(still)))


def longest_run(flags: Bools) -> int:
    """Length of the longest run of True."""
    return max((stop - start for start, stop in runs(flags)), default=0)


def runs(flags: Bools) -> list[tuple[int, int]]:
    """Start and stop of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _limited_share(clip: Observation) -> Reading:
    if clip.pair.limited_share is not None:
        return Reading(clip.pair.limited_share)
    path = sidecar.path_of(clip.pair.output)
    try:
        return Reading(float(json.loads(path.read_text(encoding="utf-8"))["limited_share"]))
    except (OSError, ValueError, KeyError, TypeError):
        return missing("not_asked", f"render with `--sidecar`: no `{path.name}` beside the video")


# --- ratios to real footage -----------------------------------------------------------------------------------------


def _footage_ratios(clip: Observation) -> dict[str, Reading]:
    names = ("sharpness", "flicker_ratio", "lip_accel_ratio")
    real = real_statistics(clip)
    if real is None:
        return {name: missing("no_reference") for name in names}
    frames = clip.output.frames
    if frames is None or clip.output.video.lost_share > LOST_SHARE:
        return {name: missing("no_face") for name in names}
    controls = _ratio_controls(clip)
    energy = _ratio(frames.sharpness, real.sharpness)
    values = {
        "sharpness": None if energy is None else energy**0.5,
        "flicker_ratio": _ratio(frames.flicker, real.flicker),
        "lip_accel_ratio": _ratio(lip_acceleration(clip.output.video), real.lip_acceleration),
    }
    readings = {name: reading(values[name], otherwise="too_short", controls=controls.get(name)) for name in names}
    if clip.real is None and (hint := _other_scale(clip.output.video, real)) is not None:
        readings["sharpness"] = missing("length_mismatch", hint)
    return readings


def _ratio(values: Float64, real: float | None) -> float | None:
    value = mean(values)
    return None if value is None or not real else value / real


def _other_scale(video: TrackedVideo, real: FootageStatistics) -> str | None:
    """A hint if the face is of another size than in the footage."""
    box = video.crop_box()
    if box is None or not real.face_px or 1 / OTHER_SCALE <= box.side / real.face_px <= OTHER_SCALE:
        return None
    return f"the face's box is {box.side} pixels wide, in the avatar's own footage {real.face_px:.0f}"


def _ratio_controls(clip: Observation) -> dict[str, dict[str, float | None]]:
    """Ratios of half of the real footage to all of it, and of footage with a fault; empty without footage."""
    real = clip.real
    if real is None or real.frames is None:
        return {}
    video, frames = real.video, real.frames

    def ratio(a: Float64, b: Float64) -> float:
        with np.errstate(all="ignore"):
            return float(np.nanmean(a) / np.nanmean(b)) if np.isfinite(a).any() and np.isfinite(b).any() else np.nan

    half = video.n_frames // 2
    acceleration = lip_acceleration(video)
    jittered = lip_acceleration(video, jitter=JITTER_PX * crop_pixel(video), seed=clip.seed)
    controls: dict[str, dict[str, float | None]] = {
        "sharpness": {"half": float(np.sqrt(ratio(frames.sharpness[half:], frames.sharpness)))},
        "flicker_ratio": {"half": ratio(frames.flicker[half:], frames.flicker)},
        "lip_accel_ratio": {
            "half": ratio(acceleration[half:], acceleration),
            "jitter": ratio(jittered, acceleration),
        },
    }
    if frames.faulty:
        sharp, blurred = frames.faulty["blur_1"]
        controls["sharpness"]["blur_1"] = float(np.sqrt(ratio(blurred, sharp)))
        controls["flicker_ratio"]["gain"] = ratio(frames.faulty["gain"], frames.flicker)
    return controls


def crop_pixel(video: TrackedVideo) -> float:
    """Pixels of the frame in one of the crop."""
    box = video.crop_box()
    return 1.0 if box is None else box.side / SIDE


def lip_acceleration(video: TrackedVideo, *, jitter: float = 0.0, seed: int = 0) -> Float64:
    """[n - 2], mean second difference of the 20 lip points, pose removed, over the outer eye distance.

    Args:
        video: a tracked video.
        jitter: pixels of white noise to add to every point.
        seed: of the noise.
    """
    points = video.points
    if jitter:
        points = points + np.random.default_rng(seed).normal(0, jitter, points.shape)
    if not video.present.any():
        return np.full(max(0, len(points) - 2), np.nan)
    present = video.present
    mean_face = points[present].mean(0)
    aligned = np.full_like(points, np.nan)
    still = np.broadcast_to(mean_face[landmarks.STILL], (int(present.sum()), len(landmarks.STILL), 2))
    similarity = landmarks.similarity(points[present][:, landmarks.STILL], still)
    aligned[present] = landmarks.move(points[present], *similarity)
    lips = aligned[:, landmarks.MOUTH] / landmarks.eye_distance(mean_face)
    acceleration: Float64 = np.linalg.norm(lips[2:] - 2 * lips[1:-1] + lips[:-2], axis=-1).mean(-1)
    return acceleration


# --- silence, closures, blinks --------------------------------------------------------------------------------------


def silent_frames(audio: SpeechAudio, n_frames: int) -> Bools:
    """[n_frames], inside of pauses of 0.28 s or more, three frames away from speech."""
    silent = np.zeros(n_frames, bool)
    quiet = ~audio.speech(n_frames)
    quiet[min(n_frames, audio.ppg.n_frames) :] = False
    for start, stop in runs(quiet):
        if stop - start >= MIN_SILENCE:
            silent[start + EDGE : stop - EDGE] = True
    return silent


def _silence(clip: Observation) -> dict[str, Reading]:
    names = ("silence_gap", "silence_motion")
    video, audio = clip.output.video, clip.output.audio
    if audio is None:
        return {name: missing("no_speech", clip.no_audio) for name in names}
    if video.lost_share > LOST_SHARE:
        return {name: missing("no_face") for name in names}
    gap = landmarks.lip_gap(video.points)
    silent = silent_frames(audio, video.n_frames) & video.present
    if not silent.any():
        return {name: missing("no_silence") for name in names}
    speech = audio.speech(video.n_frames) & video.present
    motion = gap[silent].std() / gap[speech].std() if speech.any() and gap[speech].std() > 0 else np.nan
    return {
        "silence_motion": reading(float(motion), otherwise="no_speech"),
        "silence_gap": _silence_gap(clip, gap[silent]),
    }


def _silence_gap(clip: Observation, gap: Float64) -> Reading:
    real = real_statistics(clip)
    if real is None:
        return missing("no_reference")
    if clip.real is not None and clip.real.audio is None:
        return missing("no_reference", "the footage has no audio, so its silences are not known")
    if not real.silence_gaps:
        return missing("no_silence", "the footage has no pause of 0.28 s or more")
    known = np.array(real.silence_gaps)
    return reading(float((known < np.median(gap)).mean()), otherwise="no_silence")


def _bilabial_closure(clip: Observation) -> Reading:
    if clip.output.audio is None:
        return missing("no_speech", clip.no_audio)
    if clip.output.video.lost_share > LOST_SHARE:
        return missing("no_face")
    statistics, real = real_statistics(clip), clip.real
    if statistics is None or statistics.shut is None:
        return missing("no_reference")
    controls = {"real": statistics.bilabial_closure}
    if real is not None and real.audio is not None:
        controls["delay_5"] = closure_share(real.video, real.audio, statistics.shut, delay=5)
    share = closure_share(clip.output.video, clip.output.audio, statistics.shut)
    return reading(share, otherwise="no_speech", controls=controls)


def closure_share(video: TrackedVideo, audio: SpeechAudio, shut: float, *, delay: int = 0) -> float | None:
    """Share of the P, B, M spoken whose lip gap falls to `shut` within two frames; None without any."""
    classes = [CLASSES.index(name) for name in CLOSING]
    n = min(video.n_frames, audio.ppg.n_frames)
    if not n:
        return None
    gap = np.where(video.present[:n], landmarks.lip_gap(video.points[:n]), np.inf)
    bilabials = runs(audio.ppg.at_video(0, n)[:, classes].max(1) > CLOSING_POSTERIOR)
    gap = np.concatenate([np.full(delay, np.inf), gap[: n - delay]])
    closed = [gap[max(start - NEAR, 0) : stop + NEAR].min() <= shut for start, stop in bilabials]
    return float(np.mean(closed)) if closed else None


def _blink_rate(clip: Observation) -> Reading:
    video = clip.output.video
    if video.lost_share > LOST_SHARE:
        return missing("no_face")
    if video.n_frames < timebase.to_frames(MIN_BLINK_S):
        return missing("too_short", f"{timebase.seconds(video.n_frames):.0f} of {MIN_BLINK_S:.0f} s")
    real = real_statistics(clip)
    controls = {"real": None if real is None else real.blink_rate}
    return reading(blink_rate(video), otherwise="no_face", controls=controls)


def blink_rate(video: TrackedVideo) -> float:
    """Blinks a minute: the eyes close below 0.6 of their 80 % opening and open above 0.8 within 2 - 12 frames."""
    opening = landmarks.eye_opening(video.points)
    opening = opening[np.isfinite(opening)]
    usual = float(np.quantile(opening, 0.8))
    blinks, start = 0, None
    for k, value in enumerate(opening):
        if start is None and value < BLINK_SHUT * usual:
            start = k
        elif start is not None and value > BLINK_OPEN * usual:
            blinks += BLINK_FRAMES[0] <= k - start <= BLINK_FRAMES[1]
            start = None
    return timebase.to_frames(60) * blinks / len(opening)
