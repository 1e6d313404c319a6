"""Compares two evaluated sets of the same clips: paired differences, and which of them name a winner."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vast_cli.core.errors import VastError
from vast_cli.evaluate import statistics
from vast_cli.evaluate.compare.scores import DEFAULT_MEASURES, EvaluatedClip, Evaluation, read_evaluation

SCHEMA = "vast.compare/1"
TOO_FEW, NOT_MEASURED, NO_TRUTH = "too_few_clips", "not_asked", "no_reference"
# for documents that do not name the good direction of a measure
BETTER = {
    "ssim": "higher", "ssim_face": "higher", "ssim_mouth": "higher", "cpbd": "nearer_truth", "cpbd_ratio": "nearer_1",
    "lmd": "lower", "lmd_mouth": "lower", "lmd_mouth_corr": "higher", "lip_gain": "nearer_1",
    "lagsync_lag": "nearer_0", "lagsync_margin": "higher", "lip_audio_lag": "nearer_0", "identity_dist": "lower",
}  # fmt: skip
TRUTH_CONTROLS = ("truth", "real", "reencoded")  # controls that hold the value of the truth, the best first
FIXED_TARGETS = {"nearer_1": 1.0, "nearer_0": 0.0}
ALL = "all"  # in place of names: every measure of both sets


@dataclass(frozen=True)
class MeasureDifference:
    """One measure of both sets, on the clips that have a value in both."""

    name: str
    direction: str  # higher, lower, nearer_1, nearer_0, nearer_truth, none ...
    a: float | None  # mean value
    b: float | None
    # mean of a - b, or of the distances to 1, 0 or the truth if `direction` is nearer to one of them
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None  # of the sign-flip test
    p_holm: float | None  # corrected for all measures shown
    n: int
    better: Literal["a", "b"] | None  # only if the interval excludes 0 and the measure has a good direction
    reason: str | None


@dataclass(frozen=True)
class SetComparison:
    """Two evaluated sets, compared measure by measure."""

    a: Path
    b: Path
    seed: int
    common: list[str]
    only_a: list[str]
    only_b: list[str]
    by_speaker: bool  # whether intervals resample speakers
    measures: list[MeasureDifference]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": SCHEMA,
            "a": str(self.a),
            "b": str(self.b),
            "seed": self.seed,
            "clips": len(self.common),
            "only_a": self.only_a,
            "only_b": self.only_b,
            "resampled": "speakers, then clips" if self.by_speaker else "clips",
            "measures": {one.name: {k: v for k, v in asdict(one).items() if k != "name"} for one in self.measures},
        }


def compare_sets(a: Path, b: Path, *, measures: Sequence[str] | None = None, seed: int = 0) -> SetComparison:
    """Paired differences per measure between two documents of `vast evaluate --json`.

    Only clips in both documents count, and for each measure only those with a value in both.

    Args:
        a: one document.
        b: the other.
        measures: which to compare; by default those of `DEFAULT_MEASURES`, `[ALL]` for all that both have. Holm's
            correction counts the measures with a value: the more are compared, the less each one proves.
        seed: of the bootstrap and of the random flips.

    Raises:
        VastError: `vast_record_invalid`, `vast_option_invalid` without a common clip or with an unknown measure.
    """
    evaluation_a, evaluation_b = read_evaluation(a), read_evaluation(b)
    clips_a, clips_b = _by_id(evaluation_a), _by_id(evaluation_b)
    common = [name for name in clips_a if name in clips_b]
    if not common:
        raise VastError(
            "vast_option_invalid", f"`{a}` and `{b}` have no clip in common", hint="clips are matched by `id`"
        )
    names = [name for name in evaluation_a.measures if name in set(evaluation_b.measures)]
    if measures is None:
        measures = [name for name in DEFAULT_MEASURES if name in names] or names
    elif list(measures) == [ALL]:
        measures = names
    for name in measures:
        if name not in names:
            raise VastError("vast_option_invalid", f"no measure `{name}` in both", hint=f"there are {', '.join(names)}")
    pairs = [(clips_a[name], clips_b[name]) for name in common]
    by_speaker = all(clip.speaker is not None for clip, _ in pairs)
    better = BETTER | evaluation_a.better | evaluation_b.better
    differences = [
        _difference(name, better.get(name, "none"), pairs, by_speaker=by_speaker, seed=seed) for name in measures
    ]
    return SetComparison(
        a=a,
        b=b,
        seed=seed,
        common=common,
        only_a=[name for name in clips_a if name not in clips_b],
        only_b=[name for name in clips_b if name not in clips_a],
        by_speaker=by_speaker,
        measures=_with_holm(differences),
    )


def _by_id(evaluation: Evaluation) -> dict[str, EvaluatedClip]:
    clips: dict[str, EvaluatedClip] = {}
    for clip in evaluation.clips:
        if clip.id in clips:
            raise VastError("vast_record_invalid", f"`{evaluation.path}` holds clip `{clip.id}` twice")
        clips[clip.id] = clip
    return clips


def _difference(
    name: str, direction: str, pairs: Sequence[tuple[EvaluatedClip, EvaluatedClip]], *, by_speaker: bool, seed: int
) -> MeasureDifference:
    rows = []  # the values of a and b, and what is compared of each
    groups = []
    for clip_a, clip_b in pairs:
        value_a, value_b = clip_a.values.get(name), clip_b.values.get(name)
        compared_a, compared_b = _compared_values(clip_a, clip_b, name, direction)
        if value_a is None or value_b is None or compared_a is None or compared_b is None:
            continue
        rows.append((value_a, value_b, compared_a, compared_b))
        groups.append(str(clip_a.speaker))
    if not rows:
        measured = any(a.values.get(name) is not None and b.values.get(name) is not None for a, b in pairs)
        return MeasureDifference(
            name, direction, None, None, None, None, None, None, 0, None, NO_TRUTH if measured else NOT_MEASURED
        )
    values_a, values_b, left, right = (list(column) for column in zip(*rows, strict=True))
    test = statistics.paired(left, right, groups=groups if by_speaker else None, seed=seed)
    sign = {"higher": 1, "none": 0, "in_range": 0, "nearer_prompt": 0}.get(direction, -1)
    better: Literal["a", "b"] | None = None
    if test.decided and sign:
        better = "a" if test.difference * sign > 0 else "b"
    return MeasureDifference(
        name=name,
        direction=direction,
        a=sum(values_a) / len(values_a),
        b=sum(values_b) / len(values_b),
        difference=test.difference,
        ci95=test.ci95,
        p=test.p,
        p_holm=None,
        n=test.n,
        better=better,
        reason=None if test.ci95 is not None else TOO_FEW,
    )


def _compared_values(
    a: EvaluatedClip, b: EvaluatedClip, name: str, direction: str
) -> tuple[float | None, float | None]:
    """The two values, or their distances to the target if the measure has one."""
    values = a.values.get(name), b.values.get(name)
    if not direction.startswith("nearer_") or direction == "nearer_prompt":
        return values
    targets: tuple[float | None, float | None] = (None, None)
    if direction in FIXED_TARGETS:
        targets = FIXED_TARGETS[direction], FIXED_TARGETS[direction]
    else:  # the same control for both
        truths = ((a.controls.get(name, {}).get(key), b.controls.get(name, {}).get(key)) for key in TRUTH_CONTROLS)
        targets = next((pair for pair in truths if None not in pair), targets)
    first, second = (
        None if value is None or target is None else abs(value - target)
        for value, target in zip(values, targets, strict=True)
    )
    return first, second


def _with_holm(differences: Sequence[MeasureDifference]) -> list[MeasureDifference]:
    """The same differences, with Holm's correction over those that have a p."""
    corrected = iter(statistics.holm([one.p for one in differences if one.p is not None]))
    return [one if one.p is None else replace(one, p_holm=float(next(corrected))) for one in differences]
