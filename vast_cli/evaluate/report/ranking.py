"""Ranks clips, the worst first: by failed checks, then by how far a clip falls behind the others of its set."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from vast_cli.evaluate.report.words import family_of

MIN_CLIPS = 4  # fewer values do not show what is usual
CAP = 6.0  # spreads; one outlier must not outweigh everything else
NOTABLE = 1.0  # spreads from which a measure is named as a cause
MAD_TO_SD = 1.4826  # of a normal distribution
MEAN_TO_SD = 1.2533
LEAST_SPREAD = 0.05  # of the way from floor to ceiling: smaller differences do not count

Document = Mapping[str, Any]


@dataclass(frozen=True)
class ClipRank:
    """The rank of a clip in its set.

    Attributes:
        error: the clip could not be measured at all.
        fails: failed checks.
        warns: warnings.
        behind: per measure, robust standard deviations behind the set's median, 0..`CAP`; only measures with a value.
    """

    error: bool
    fails: int
    warns: int
    behind: dict[str, float]

    @property
    def score(self) -> float:
        """Warnings, plus how far the worst measure of each family falls behind."""
        worst: dict[str, float] = {}
        for name, spreads in self.behind.items():
            family = family_of(name)
            worst[family] = max(worst.get(family, 0.0), spreads)
        return self.warns + sum(worst.values())

    @property
    def key(self) -> tuple[bool, int, float]:
        """Sort key; the best clip has the least."""
        return (self.error, self.fails, self.score)

    @property
    def causes(self) -> list[str]:
        """The measures behind the rank, worst first."""
        notable = [name for name, spreads in self.behind.items() if spreads >= NOTABLE]
        return sorted(notable, key=lambda name: (-self.behind[name], name))


def rank_clips(document: Document) -> list[ClipRank]:
    """A rank for every clip, in the document's order.

    A measure counts if it has a direction, is not unreliable on this set, and has `MIN_CLIPS` values. Being better
    than usual does not count: a sharp image does not make up for lost sync.
    """
    clips: Sequence[Document] = document.get("clips") or []
    behind: list[dict[str, float]] = [{} for _ in clips]
    for name, measure in (document.get("measures") or {}).items():
        if measure.get("valid") is False and measure.get("value") is not None:
            continue
        losses = [loss(clip, name, measure) for clip in clips]
        for index, spreads in _spreads(losses, least=_least_spread(measure)).items():
            behind[index][name] = spreads
    ranks = []
    for clip, spreads_of in zip(clips, behind, strict=True):
        levels = [flag.get("level") for flag in clip.get("flags") or []]
        ranks.append(ClipRank(bool(clip.get("error")), levels.count("fail"), levels.count("warn"), spreads_of))
    return ranks


def worst_first(ranks: Sequence[ClipRank]) -> list[int]:
    """Indices of clips, the worst first; equal clips keep their order."""
    return sorted(range(len(ranks)), key=lambda index: ranks[index].key, reverse=True)


def loss(clip: Document, name: str, measure: Document) -> float | None:
    """How bad a clip's value is, in the unit of the measure: more is worse. None without a value or a direction."""
    value = number((clip.get("measures") or {}).get(name, {}).get("value"))
    better = measure.get("better")
    if value is None:
        return None
    if better == "higher":
        return -value
    if better == "lower":
        return value
    target = target_of(clip, name, measure)
    return None if target is None else abs(value - target)


def target_of(clip: Document, name: str, measure: Document) -> float | None:
    """The value that a measure should have, if there is one: that of the truth or the prompt, 1 or 0."""
    better = measure.get("better")
    if better == "nearer_1":
        return 1.0
    if better == "nearer_0":
        return 0.0
    controls = (clip.get("measures") or {}).get(name, {}).get("controls") or {}
    if better == "nearer_prompt":
        return number(controls.get("prompt"))
    if better != "nearer_truth":
        return None
    candidates = (controls.get("truth"), controls.get("real"), controls.get("reencoded"), measure.get("ceiling"))
    return next((value for candidate in candidates if (value := number(candidate)) is not None), None)


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _spreads(losses: Sequence[float | None], *, least: float) -> dict[int, float]:
    values = [loss for loss in losses if loss is not None]
    if len(values) < MIN_CLIPS:
        return {}
    middle = median(values)
    deviations = [abs(loss - middle) for loss in values]
    spread = max(MAD_TO_SD * median(deviations) or MEAN_TO_SD * fmean(deviations), least)
    if spread <= 0:
        return {index: 0.0 for index, loss in enumerate(losses) if loss is not None}
    return {
        index: min(max((loss - middle) / spread, 0.0), CAP) for index, loss in enumerate(losses) if loss is not None
    }


def _least_spread(measure: Document) -> float:
    floor, ceiling = number(measure.get("floor")), number(measure.get("ceiling"))
    return 0.0 if floor is None or ceiling is None else LEAST_SPREAD * abs(ceiling - floor)
