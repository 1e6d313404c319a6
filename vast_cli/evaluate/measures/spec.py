"""What a measure is (`Spec`) and its value on a clip beside its controls (`Reading`).

A name means one computation. What cannot be measured is null with a reason, never a substitute; no number is printed
without the controls that show what it is worth on the data at hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Better = Literal["higher", "lower", "nearer_truth", "nearer_1", "nearer_0", "nearer_prompt", "in_range", "none"]

REASONS: dict[str, str] = {
    "no_reference": "give the true video with `--reference`, or real footage of the person with `--footage`",
    "no_footage": "the avatar has no statistics of its own footage; `vast fit-renderer` measures them",
    "no_weights": "its network is not installed",
    "no_transcript": "give a column `transcript` in the table of pairs",
    "no_face": "more than 5 % of the frames show no face",
    "no_speech": "there is less than 1 s of speech",
    "no_silence": "the audio has no pause of 0.28 s or more",
    "no_edges": "the frames have no edges",
    "no_judges": "there are no ratings yet",
    "too_few_clips": "more clips are needed",
    "too_few_frames": "more frames are needed",
    "too_short": "the clip is too short",
    "length_mismatch": "output and reference differ in length or size",
    "not_25fps": "the video does not have 25 frames a second",
    "style_differs": "the output speaks in another style than the reference",
    "control_failed": "the controls are not in the order they must have on these clips",
    "judge_was_trainer": "the external model was used in training",
    "not_asked": "it was not requested",
}


@dataclass(frozen=True)
class Spec:
    """Definition of a measure.

    Args:
        name: in JSON and options.
        title: for people.
        about: one sentence.
        unit: SI or `1`.
        better: which way is good.
        ceiling: control that shows the best possible value.
        floor: control that shows the value of a useless result.
        order: chains of controls (`made` is the output itself) whose means must ascend, or the measure is not valid.
        version: of the computation.
        needs: what the user must give.
        counts: a plain count, which needs no controls.
    """

    name: str
    title: str
    about: str
    unit: str
    better: Better
    ceiling: str | None = None
    floor: str | None = None
    order: tuple[tuple[str, ...], ...] = ()
    version: int = 1
    needs: str = ""
    counts: bool = False


@dataclass(frozen=True)
class Reading:
    """A measure's value on one clip (or on a set, for measures of sets), with its controls on the same data."""

    value: float | None
    reason: str | None = None
    hint: str | None = None
    controls: Mapping[str, float | None] = field(default_factory=dict)
    ci95: tuple[float, float] | None = None  # of measures that exist for sets only
    n: int = 1

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "value": self.value,
            "reason": self.reason,
            "hint": self.hint,
            "controls": dict(self.controls),
        }


def missing(reason: str, hint: str | None = None, controls: Mapping[str, float | None] | None = None) -> Reading:
    """A reading without a value, for one of `REASONS`."""
    return Reading(None, reason, hint or REASONS[reason], _finite(controls or {}))


def reading(value: float | None, *, otherwise: str, controls: Mapping[str, float | None] | None = None) -> Reading:
    """A value with its controls; without a value, for the reason `otherwise`, if it is None or not finite."""
    if value is None or not math.isfinite(value):
        return missing(otherwise, controls=controls)
    return Reading(float(value), controls=_finite(controls or {}))


def _finite(controls: Mapping[str, float | None]) -> dict[str, float | None]:
    """Controls with None for values that are not finite."""
    return {
        name: float(value) if value is not None and math.isfinite(value) else None for name, value in controls.items()
    }


def in_order(spec: Spec, controls: Mapping[str, float | None]) -> bool | None:
    """Whether the controls ascend as the measure requires; None if too few of them are known."""
    result = None
    for chain in spec.order:
        known = [value for name in chain if (value := controls.get(name)) is not None]
        if len(known) < 2:
            continue
        result = True
        if any(a >= b for a, b in pairwise(known)):
            return False
    return result


def skill(spec: Spec, value: float | None, controls: Mapping[str, float | None]) -> float | None:
    """0 at the floor, 1 at the ceiling; None where one is missing or they are alike."""
    ceiling = controls.get(spec.ceiling or "")
    floor = controls.get(spec.floor or "")
    if value is None or ceiling is None or floor is None or abs(ceiling - floor) < 1e-9:
        return None
    return (value - floor) / (ceiling - floor)
