"""Faults that a viewer sees without knowing the truth: what `vast batch` gates on, here without thresholds of failure.

Ratios are to real footage of the person (`--footage`, else the truth, else the numbers an avatar keeps of its own);
people wait with open lips and some never blink in 3 s, so no absolute rule would hold.
"""

import json

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Bools, Float64
from vast_cli.core.timebase import FPS, SAMPLE_RATE
from vast_cli.evaluate.footage.statistics import FootageStatistics
from vast_cli.evaluate.measures.spec import Reading, Spec, null, reading
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.clip import Observation
from vast_cli.evaluate.observation.crop import SIDE
from vast_cli.evaluate.observation.frames import FrameMeasurements
from vast_cli.evaluate.observation.tracking import LOST_SHARE, SpeechAudio, TrackedVideo
from vast_cli.pipeline import sidecar
from vast_cli.speech import CLASSES

DARK, LIT, FLAT = 16.0, 32.0, 2.0  # luma: a black frame, a picture, no picture at all
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
OTHER_SCALE = 1.15  # pixels of the face more or less than the yardstick's: detail does not compare

_REAL = "footage or reference"
SPECS = (
    Spec("av_length_diff_ms", "Picture less sound", "How much longer the picture lasts than its own sound.", "ms",
         "nearer_0", counts=True),
    Spec("black_frames", "Black frames", "Frames without a picture.", "frames", "lower", counts=True),
    Spec("frozen_run", "Frozen picture", "Longest run of frames without change while there is speech.", "frames",
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
    Spec("bilabial_closure", "Closures at P, B, M", "Share whose lip gap falls below the footage's 10 % quantile.", "1",
         "nearer_truth", order=(("delay_5", "real"),), needs=_REAL),
    Spec("blink_rate", "Blinks", "Closures of the eyes a minute.", "1/min", "nearer_truth"),
    Spec("limited_share", "Frames held back", "Share of frames where the avatar's range held motion back, from the "
         "sidecar.", "1", "lower", needs="sidecar", counts=True),
)  # fmt: skip


def read(clip: Observation) -> dict[str, Reading]:
    """All faults of one clip."""
    return {
        "av_length_diff_ms": _length(clip),
        "black_frames": _black(clip),
        "frozen_run": _frozen(clip),
        "face_lost": Reading(clip.made.lost),
        "limited_share": _limited(clip),
        **_against_real(clip),
        **_silence(clip),
        "bilabial_closure": _closures(clip),
        "blink_rate": _blinks(clip),
    }


def standard(clip: Observation) -> FootageStatistics | None:
    """What this clip's ratios divide by: real footage where it is at hand, else what an avatar keeps of its own."""
    return clip.pair.footage_statistics if clip.real is None else standard_of(*clip.real)


def standard_of(sight: TrackedVideo, portrait: FrameMeasurements, sound: SpeechAudio | None) -> FootageStatistics:
    """Real footage as numbers, as far as this file's measures need it."""
    silent = np.zeros(0, bool) if sound is None else silent_frames(sound, sight.n_frames) & sight.present
    gaps = landmarks.lip_gap(sight.points[silent]) if silent.any() else np.zeros(0)
    shut = _shut(sight)
    box = sight.box()
    return FootageStatistics(
        brightness=float(np.median(sight.brightness[:, 0])),
        sharpness=_mean(portrait.sharpness),
        flicker=_mean(portrait.flicker),
        lip_acceleration=_mean(lip_acceleration(sight)),
        shut=shut,
        silence_gaps=tuple(np.sort(gaps).tolist()),
        bilabial_closure=None if sound is None or shut is None else closure_share(sight, sound, shut),
        blink_rate=None if sight.n_frames < MIN_BLINK_S * FPS or not sight.present.any() else blink_rate(sight),
        face_px=0.0 if box is None else float(box.side),
        seconds=sight.n_frames / FPS,
    )


def _shut(sight: TrackedVideo) -> float | None:
    gaps = landmarks.lip_gap(sight.points[sight.present])
    return float(np.quantile(gaps, SHUT_QUANTILE)) if len(gaps) else None


def _mean(values: Float64) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _length(clip: Observation) -> Reading:
    if clip.own_samples is None:
        return null("no_speech", clip.no_sound or "the output has no sound of its own")
    return Reading(1000 * (clip.made.n_frames / FPS - clip.own_samples / SAMPLE_RATE))


def _black(clip: Observation) -> Reading:
    mean, sd = clip.made.brightness.T
    if clip.real is not None:
        usual = float(np.median(clip.real[0].brightness[:, 0]))
    else:
        usual = (
            float(np.median(mean)) if clip.pair.footage_statistics is None else clip.pair.footage_statistics.brightness
        )
    return Reading(float(black_frames(mean, sd, lit=usual > LIT).sum()))


def black_frames(mean: NDArray[np.float32], sd: NDArray[np.float32], *, lit: bool) -> Bools:
    """[n], frames that are dark though the footage is lit, or that hold no picture."""
    black: Bools = (sd < FLAT) | ((mean < DARK) & lit)
    return black


def _frozen(clip: Observation) -> Reading:
    if "made" not in clip.portraits:
        return null("no_face")
    still = clip.portraits["made"].change < FROZEN
    if clip.sound is not None:
        still &= clip.sound.speech(len(still))
    return Reading(float(longest(still)))


def longest(flags: Bools) -> int:
    """Length of the longest run of True."""
    return max((stop - start for start, stop in runs(flags)), default=0)


def runs(flags: Bools) -> list[tuple[int, int]]:
    """Start and stop of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _limited(clip: Observation) -> Reading:
    if clip.pair.limited_share is not None:
        return Reading(clip.pair.limited_share)
    path = sidecar.path_of(clip.pair.output)
    try:
        return Reading(float(json.loads(path.read_text(encoding="utf-8"))["limited_share"]))
    except (OSError, ValueError, KeyError, TypeError):
        return null("not_asked", f"render with `--sidecar`: no `{path.name}` beside the video")


def _against_real(clip: Observation) -> dict[str, Reading]:
    names = ("sharpness", "flicker_ratio", "lip_accel_ratio")
    real = standard(clip)
    if real is None:
        return {name: null("no_reference") for name in names}
    made = clip.portraits.get("made")
    if made is None or clip.made.lost > LOST_SHARE:
        return {name: null("no_face") for name in names}
    controls = _controls(clip)
    detail = _ratio(made.sharpness, real.sharpness)
    values = {
        "sharpness": None if detail is None else detail**0.5,
        "flicker_ratio": _ratio(made.flicker, real.flicker),
        "lip_accel_ratio": _ratio(lip_acceleration(clip.made), real.lip_acceleration),
    }
    found = {name: reading(values[name], otherwise="too_short", controls=controls.get(name)) for name in names}
    if clip.real is None and (hint := _other_scale(clip.made, real)) is not None:
        found["sharpness"] = null("length_mismatch", hint)
    return found


def _ratio(made: Float64, real: float | None) -> float | None:
    mine = _mean(made)
    return None if mine is None or not real else mine / real


def _other_scale(made: TrackedVideo, real: FootageStatistics) -> str | None:
    box = made.box()
    if box is None or not real.face_px or 1 / OTHER_SCALE <= box.side / real.face_px <= OTHER_SCALE:
        return None
    return f"the face's box is {box.side} pixels wide, in the avatar's own footage {real.face_px:.0f}"


def _controls(clip: Observation) -> dict[str, dict[str, float | None]]:
    """How far real footage is from itself, and what faults make of it; empty where it is not at hand."""
    if clip.real is None:
        return {}
    sight, portrait, _ = clip.real

    def ratio(a: Float64, b: Float64) -> float:
        with np.errstate(all="ignore"):
            return float(np.nanmean(a) / np.nanmean(b)) if np.isfinite(a).any() and np.isfinite(b).any() else np.nan

    half = sight.n_frames // 2
    trembling = lip_acceleration(sight)
    controls: dict[str, dict[str, float | None]] = {
        "sharpness": {"half": float(np.sqrt(ratio(portrait.sharpness[half:], portrait.sharpness)))},
        "flicker_ratio": {"half": ratio(portrait.flicker[half:], portrait.flicker)},
        "lip_accel_ratio": {
            "half": ratio(trembling[half:], trembling),
            "jitter": ratio(lip_acceleration(sight, jitter=JITTER_PX * crop_pixel(sight), seed=clip.seed), trembling),
        },
    }
    if portrait.faulty:
        sharp, blurred = portrait.faulty["blur_1"]
        controls["sharpness"]["blur_1"] = float(np.sqrt(ratio(blurred, sharp)))
        controls["flicker_ratio"]["gain"] = ratio(portrait.faulty["gain"], portrait.flicker)
    return controls


def crop_pixel(sight: TrackedVideo) -> float:
    """Pixels of the picture in one of the crop."""
    box = sight.box()
    return 1.0 if box is None else box.side / SIDE


def lip_acceleration(sight: TrackedVideo, *, jitter: float = 0.0, seed: int = 0) -> Float64:
    """[n - 2], mean second difference of the 20 lip points, pose removed, over the outer eye distance.

    Args:
        sight: a video.
        jitter: pixels of white noise to add to every point.
        seed: of the noise.
    """
    points = sight.points
    if jitter:
        points = points + np.random.default_rng(seed).normal(0, jitter, points.shape)
    if not sight.present.any():
        return np.full(max(0, len(points) - 2), np.nan)
    goal = points[sight.present].mean(0)
    laid = np.full_like(points, np.nan)
    seen = sight.present
    still = np.broadcast_to(goal[landmarks.STILL], (int(seen.sum()), len(landmarks.STILL), 2))
    laid[seen] = landmarks.move(points[seen], *landmarks.similarity(points[seen][:, landmarks.STILL], still))
    lips = laid[:, landmarks.MOUTH] / landmarks.eye_distance(goal)
    second: Float64 = np.linalg.norm(lips[2:] - 2 * lips[1:-1] + lips[:-2], axis=-1).mean(-1)
    return second


def silent_frames(sound: SpeechAudio, n_frames: int) -> Bools:
    """[n_frames], inside of pauses of 0.28 s or more, three frames away from speech."""
    silent = np.zeros(n_frames, bool)
    quiet = ~sound.speech(n_frames)
    quiet[min(n_frames, sound.ppg.n_frames) :] = False
    for start, stop in runs(quiet):
        if stop - start >= MIN_SILENCE:
            silent[start + EDGE : stop - EDGE] = True
    return silent


def _silence(clip: Observation) -> dict[str, Reading]:
    names = ("silence_gap", "silence_motion")
    if clip.sound is None:
        return {name: null("no_speech", clip.no_sound) for name in names}
    if clip.made.lost > LOST_SHARE:
        return {name: null("no_face") for name in names}
    gap = landmarks.lip_gap(clip.made.points)
    silent = silent_frames(clip.sound, clip.made.n_frames) & clip.made.present
    if not silent.any():
        return {name: null("no_silence") for name in names}
    speech = clip.sound.speech(clip.made.n_frames) & clip.made.present
    motion = gap[silent].std() / gap[speech].std() if speech.any() and gap[speech].std() > 0 else np.nan
    return {
        "silence_motion": reading(float(motion), otherwise="no_speech"),
        "silence_gap": _silence_gap(clip, gap[silent]),
    }


def _silence_gap(clip: Observation, gap: Float64) -> Reading:
    real = standard(clip)
    if real is None:
        return null("no_reference")
    if clip.real is not None and clip.real[2] is None:
        return null("no_reference", "the footage has no sound, so its silences are not known")
    if not real.silence_gaps:
        return null("no_silence", "the footage has no pause of 0.28 s or more")
    known = np.array(real.silence_gaps)
    return reading(float((known < np.median(gap)).mean()), otherwise="no_silence")


def _closures(clip: Observation) -> Reading:
    if clip.sound is None:
        return null("no_speech", clip.no_sound)
    if clip.made.lost > LOST_SHARE:
        return null("no_face")
    real = standard(clip)
    if real is None or real.shut is None:
        return null("no_reference")
    controls = {"real": real.bilabial_closure}
    if clip.real is not None and clip.real[2] is not None:
        controls["delay_5"] = closure_share(clip.real[0], clip.real[2], real.shut, delay=5)
    mine = closure_share(clip.made, clip.sound, real.shut)
    return reading(mine, otherwise="no_speech", controls=controls)


def closure_share(sight: TrackedVideo, sound: SpeechAudio, shut: float, *, delay: int = 0) -> float | None:
    """Share of the P, B, M heard whose lip gap falls to `shut` within two frames; None if none is heard."""
    classes = [CLASSES.index(name) for name in CLOSING]
    n = min(sight.n_frames, sound.ppg.n_frames)
    if not n:
        return None
    gap = np.where(sight.present[:n], landmarks.lip_gap(sight.points[:n]), np.inf)
    heard = runs(sound.ppg.at_video(0, n)[:, classes].max(1) > CLOSING_POSTERIOR)
    gap = np.concatenate([np.full(delay, np.inf), gap[: n - delay]])
    closed = [gap[max(start - NEAR, 0) : stop + NEAR].min() <= shut for start, stop in heard]
    return float(np.mean(closed)) if closed else None


def _blinks(clip: Observation) -> Reading:
    if clip.made.lost > LOST_SHARE:
        return null("no_face")
    if clip.made.n_frames < MIN_BLINK_S * FPS:
        return null("too_short", f"{clip.made.n_frames / FPS:.0f} of {MIN_BLINK_S:.0f} s")
    real = standard(clip)
    controls = {"real": None if real is None else real.blink_rate}
    return reading(blink_rate(clip.made), otherwise="no_face", controls=controls)


def blink_rate(sight: TrackedVideo) -> float:
    """Blinks a minute: the eyes close below 0.6 of their 80 % opening and open above 0.8 within 2 - 12 frames."""
    opening = landmarks.eye_opening(sight.points)
    opening = opening[np.isfinite(opening)]
    usual = float(np.quantile(opening, 0.8))
    blinks, start = 0, None
    for k, value in enumerate(opening):
        if start is None and value < BLINK_SHUT * usual:
            start = k
        elif start is not None and value > BLINK_OPEN * usual:
            blinks += BLINK_FRAMES[0] <= k - start <= BLINK_FRAMES[1]
            start = None
    return 60 * FPS * blinks / len(opening)
