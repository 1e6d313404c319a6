"""Two evaluated sets of the same clips: paired differences, and what may be called better."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vast_cli.core.errors import VastError
from vast_cli.evaluate import statistics
from vast_cli.evaluate.compare.scores import SHOWN, Clip, Document, read_document

SCHEMA = "vast.compare/1"
TOO_FEW, NOT_MEASURED, NO_TRUTH = "too_few_clips", "not_asked", "no_reference"
# where a document does not say which way is good
BETTER = {
    "ssim": "higher", "ssim_face": "higher", "ssim_mouth": "higher", "cpbd": "nearer_truth", "cpbd_ratio": "nearer_1",
    "lmd": "lower", "lmd_mouth": "lower", "lmd_mouth_corr": "higher", "lip_gain": "nearer_1",
    "lagsync_lag": "nearer_0", "lagsync_margin": "higher", "lip_audio_lag": "nearer_0", "identity_dist": "lower",
}  # fmt: skip
TRUTH = ("truth", "real", "reencoded")  # controls that say what the truth has, the best first
FIXED = {"nearer_1": 1.0, "nearer_0": 0.0}
ALL = "all"  # in place of names: every measure of both


@dataclass(frozen=True)
class Difference:
    """One measure of both sets on the clips that have it in both."""

    name: str
    direction: str  # higher, lower, nearer_1, nearer_0, nearer_truth, none ...
    a: float | None  # mean value
    b: float | None
    # of a - b; of the distances to 1, 0 or the truth where `direction` is nearer to them
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None  # sign flips
    p_holm: float | None  # corrected for all measures shown
    n: int
    better: Literal["a", "b"] | None  # only if the interval excludes 0 and the measure has a good direction
    reason: str | None


@dataclass(frozen=True)
class SetComparison:
    """Two sets."""

    a: Path
    b: Path
    seed: int
    common: list[str]
    only_a: list[str]
    only_b: list[str]
    by_speaker: bool  # whether intervals draw speakers
    measures: list[Difference]

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
    """Paired differences per measure of two documents of `vast evaluate --json`.

    Only clips in both count, and of those, per measure, only where both have a value.

    Args:
        a: one document.
        b: the other.
        measures: which to compare; those usually shown under a video if not given, `ALL` for all that both name. Holm's
            correction counts those with a value: the more are looked at, the less each one proves.
        seed: of the bootstrap and of random flips.

    Raises:
        VastError: `vast_record_invalid`, `vast_option_invalid` without a common clip or for an unknown measure.
    """
    one, other = read_document(a), read_document(b)
    of_a, of_b = _by_id(one), _by_id(other)
    common = [name for name in of_a if name in of_b]
    if not common:
        raise VastError(
            "vast_option_invalid", f"`{a}` and `{b}` have no clip in common", hint="clips are matched by `id`"
        )
    names = [name for name in one.measures if name in set(other.measures)]
    if measures is None:
        measures = [name for name in SHOWN if name in names] or names
    elif list(measures) == [ALL]:
        measures = names
    for name in measures:
        if name not in names:
            raise VastError("vast_option_invalid", f"no measure `{name}` in both", hint=f"there are {', '.join(names)}")
    pairs = [(of_a[name], of_b[name]) for name in common]
    by_speaker = all(clip.speaker is not None for clip, _ in pairs)
    better = BETTER | one.better | other.better
    found = [_difference(name, better.get(name, "none"), pairs, by_speaker=by_speaker, seed=seed) for name in measures]
    return SetComparison(
        a=a,
        b=b,
        seed=seed,
        common=common,
        only_a=[name for name in of_a if name not in of_b],
        only_b=[name for name in of_b if name not in of_a],
        by_speaker=by_speaker,
        measures=_corrected(found),
    )


def _by_id(document: Document) -> dict[str, Clip]:
    found: dict[str, Clip] = {}
    for clip in document.clips:
        if clip.id in found:
            raise VastError("vast_record_invalid", f"`{document.path}` holds clip `{clip.id}` twice")
        found[clip.id] = clip
    return found


def _difference(
    name: str, direction: str, pairs: Sequence[tuple[Clip, Clip]], *, by_speaker: bool, seed: int
) -> Difference:
    rows = []  # a, b, and what is compared of each
    groups = []
    for one, other in pairs:
        values = one.values.get(name), other.values.get(name)
        seen = _compared(one, other, name, direction)
        if values[0] is None or values[1] is None or seen[0] is None or seen[1] is None:
            continue
        rows.append((values[0], values[1], seen[0], seen[1]))
        groups.append(str(one.speaker))
    if not rows:
        both = any(a.values.get(name) is not None and b.values.get(name) is not None for a, b in pairs)
        return Difference(
            name, direction, None, None, None, None, None, None, 0, None, NO_TRUTH if both else NOT_MEASURED
        )
    a, b, left, right = (list(column) for column in zip(*rows, strict=True))
    test = statistics.paired(left, right, groups=groups if by_speaker else None, seed=seed)
    good = {"higher": 1, "none": 0, "in_range": 0, "nearer_prompt": 0}.get(direction, -1)
    better: Literal["a", "b"] | None = None
    if test.decided and good:
        better = "a" if test.difference * good > 0 else "b"
    return Difference(
        name=name,
        direction=direction,
        a=sum(a) / len(a),
        b=sum(b) / len(b),
        difference=test.difference,
        ci95=test.ci95,
        p=test.p,
        p_holm=None,
        n=test.n,
        better=better,
        reason=None if test.ci95 is not None else TOO_FEW,
    )


def _compared(one: Clip, other: Clip, name: str, direction: str) -> tuple[float | None, float | None]:
    """What counts of two values: themselves, or how far they are from where they should be."""
    values = one.values.get(name), other.values.get(name)
    if not direction.startswith("nearer_") or direction == "nearer_prompt":
        return values
    targets: tuple[float | None, float | None] = (None, None)
    if direction in FIXED:
        targets = FIXED[direction], FIXED[direction]
    else:  # the same control for both
        known = ((one.controls.get(name, {}).get(key), other.controls.get(name, {}).get(key)) for key in TRUTH)
        targets = next((pair for pair in known if None not in pair), targets)
    first, second = (
        None if value is None or target is None else abs(value - target)
        for value, target in zip(values, targets, strict=True)
    )
    return first, second


def _corrected(found: Sequence[Difference]) -> list[Difference]:
    """The same with Holm's correction over those that have a p."""
    known = [one.p for one in found if one.p is not None]
    corrected = iter(statistics.holm(known))
    return [one if one.p is None else replace(one, p_holm=float(next(corrected))) for one in found]
