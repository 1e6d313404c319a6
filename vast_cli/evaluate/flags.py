"""Which figures of a clip a producer should look at: the default limits of the batch gates, as marks, not verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from vast_cli.evaluate.measures.spec import Reading

Level = Literal["fail", "warn"]


@dataclass(frozen=True)
class Limit:
    """A measure beyond which a clip is marked."""

    measure: str
    level: Level
    beyond: Callable[[float], bool]
    text: str


def _outside(low: float, high: float) -> Callable[[float], bool]:
    return lambda x: not low <= x <= high


# `fail` where less than 1 % of real windows lie beyond and over 95 % of spoilt ones: benchmarks/gates.py
LIMITS = (
    Limit("av_length_diff_ms", "fail", lambda x: abs(x) > 40, "picture and sound differ by {0:.0f} ms in length"),
    Limit("black_frames", "fail", lambda x: x >= 1, "{0:.0f} frames without a picture"),
    Limit("frozen_run", "fail", lambda x: x > 3, "the picture stands still for {0:.0f} frames while there is speech"),
    Limit("face_lost", "fail", lambda x: x > 0.01, "no face in {1:.0f} % of the frames"),
    Limit("sharpness", "fail", lambda x: x < 0.8, "the mouth is blurred: {0:.2f} of the footage's detail"),
    Limit("sharpness", "warn", _outside(0.85, 1.2), "the mouth has {0:.2f} of the footage's detail"),
    Limit("flicker_ratio", "warn", _outside(0.5, 1.7), "flicker is {0:.1f} times the footage's"),
    Limit("lip_accel_ratio", "warn", _outside(0.5, 1.4), "the lips move {0:.1f} times as abruptly as the footage's"),
    Limit("silence_gap", "warn", lambda x: x > 0.95, "the lips stay open in silences"),
    Limit("silence_motion", "warn", lambda x: x > 0.5, "the lips move in silences"),
    # other clips of one person reach .42 (95 %), other people begin at .48 (60 clips of 33 persons)
    Limit("identity_dist", "fail", lambda x: x > 0.48, "looks like somebody else: {0:.2f} from the footage"),
    Limit("identity_dist", "warn", lambda x: x > 0.42, "looks little like the person: {0:.2f} from the footage"),
    Limit("limited_share", "fail", lambda x: x > 0.25, "{1:.0f} % of the frames were held inside the avatar's range"),
    Limit("limited_share", "warn", lambda x: x > 0.05, "{1:.0f} % of the frames were held inside the avatar's range"),
    Limit("lagsync_lag", "fail", lambda x: abs(x) > 1, "the picture is {0:+.0f} frames late"),
    Limit("jitter_share", "warn", lambda x: x > 0.2, "{1:.0f} % of the motion is jitter"),
)  # fmt: skip


def flags(readings: Mapping[str, Reading]) -> list[dict[str, str]]:
    """What to look at, failures first; one mark a measure.

    Ratios to the footage of closures, blinks and sync are marked where the footage's own value is known.
    """
    found: dict[str, dict[str, str]] = {}
    for limit in LIMITS:
        told = readings.get(limit.measure)
        if told is None or told.value is None or limit.measure in found or not limit.beyond(told.value):
            continue
        text = limit.text.format(told.value, 100 * told.value)
        found[limit.measure] = {"measure": limit.measure, "level": limit.level, "text": text}
    for measure, low, high, text in RATIOS:
        told = readings.get(measure)
        real = None if told is None else told.controls.get("real")
        if told is None or told.value is None or not real:
            continue
        if not low <= told.value / real <= high:
            words = text.format(told.value, real)
            found[measure] = {"measure": measure, "level": "warn", "text": words}
    return sorted(found.values(), key=lambda flag: flag["level"])


RATIOS = (
    ("bilabial_closure", 0.6, float("inf"), "lips close at {0:.2f} of P, B, M; the footage's at {1:.2f}"),
    ("blink_rate", 0.3, 3.0, "{0:.0f} blinks a minute; the footage has {1:.0f}"),
    ("lagsync_margin", 0.6, float("inf"), "mouth and sound fit less than in the footage: {0:.2f}, {1:.2f}"),
)
