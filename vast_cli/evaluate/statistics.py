"""Statistics of figures: intervals over clips, paired tests, agreement of raters. Frames are never the sample.

Coverage of the nominal 95 % on skewed data decides which interval is used: the percentile bootstrap covers 80 % at 5
clips and 88 % at 10, so the t interval is used there; below 5 clips there is no interval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Interval = tuple[float, float]
Indices = NDArray[np.intp]

RESAMPLES = 10_000
FLIPS = 10_000
MIN_CLIPS = 5  # fewer have no interval
BOOTSTRAP_CLIPS = 20  # least for the bootstrap
EXACT_CLIPS = 15  # most for which all sign flips are tried: 32,768
LEVEL = 0.95
_BLOCK = 500  # resamples at once
_TAILS = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)
_TIE = 1e-9  # relative; the order of summation changes a sum by less


def interval(values: Sequence[float], *, groups: Sequence[str] | None = None, seed: int = 0) -> Interval | None:
    """95 % interval of the mean of `values`, one per clip.

    None below 5 clips, a t interval below 20, otherwise the percentile bootstrap.

    Args:
        values: finite numbers.
        groups: speaker of each clip; the bootstrap then resamples speakers, and clips within each speaker.
        seed: of the bootstrap.

    Raises:
        ValueError: a value is not finite, or `groups` has another length.
    """
    data = _finite(values)
    n = len(data)
    if n < MIN_CLIPS:
        return None
    if n < BOOTSTRAP_CLIPS:
        return _t_interval(float(data.mean()), float(data.std(ddof=1)) / n**0.5, n)
    means = [
        (data[index] * valid).sum(axis=1) / valid.sum(axis=1)
        for index, valid in _resampled_blocks(n, groups=groups, seed=seed, count=RESAMPLES)
    ]
    return _percentiles(np.concatenate(means))


def resample(
    n: int, *, groups: Sequence[str] | None = None, seed: int = 0, count: int = RESAMPLES
) -> Iterator[Indices]:
    """Resample clips with replacement, `count` times: index arrays into the set.

    Each holds n indices. With `groups` the speakers are sampled first, so the number varies with their sizes.
    """
    for index, valid in _resampled_blocks(n, groups=groups, seed=seed, count=count):
        for row, mask in zip(index, valid, strict=True):
            yield row[mask]


def resampled_interval(
    statistic: Callable[[Indices], float],
    n: int,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    count: int = RESAMPLES,
) -> Interval | None:
    """95 % interval of a measure of the whole set, computed on resampled clips.

    From 20 clips on these are percentiles. Below it is a t interval around the value with the standard error of the
    bootstrap, which for a mean is the interval of `interval`. None below 5 clips, or if most resamples give no finite
    value.
    """
    if n < MIN_CLIPS:
        return None
    values = np.array([statistic(index) for index in resample(n, groups=groups, seed=seed, count=count)], np.float64)
    values = values[np.isfinite(values)]
    if len(values) < max(count / 2, 2):
        return None
    if n >= BOOTSTRAP_CLIPS:
        return _percentiles(values)
    value = float(statistic(np.arange(n)))
    error = float(values.std()) * (n / (n - 1)) ** 0.5
    return _t_interval(value, error, n) if np.isfinite(value) else None


@dataclass(frozen=True)
class PairedComparison:
    """The difference between two methods on the same clips: a - b."""

    difference: float
    ci95: Interval | None
    p: float  # two-sided, of the sign-flip test
    n: int

    @property
    def decided(self) -> bool:
        """Whether one of the two is better: the interval excludes 0."""
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]


def paired(
    a: Sequence[float], b: Sequence[float], *, groups: Sequence[str] | None = None, seed: int = 0
) -> PairedComparison:
    """Compare two values of each clip: interval of the mean difference, and a sign-flip test.

    The test tries every flip up to 15 clips, and 10,000 random ones beyond. It flips clips: with few speakers trust
    the interval, which resamples speakers.

    Raises:
        ValueError: the lengths differ or are 0, or a value is not finite.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    difference = _finite(a) - _finite(b)
    ci95 = interval(difference.tolist(), groups=groups, seed=seed)
    return PairedComparison(float(difference.mean()), ci95, sign_flip(difference, seed=seed), len(difference))


def sign_flip(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of the hypothesis that each difference is as likely as its negative."""
    values = np.asarray(differences, np.float64)
    observed = abs(values.sum()) * (1 - _TIE)
    if len(values) <= EXACT_CLIPS:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
        return float(np.mean(np.abs(signs @ values) >= observed))
    signs = np.random.default_rng(seed).choice((1.0, -1.0), size=(FLIPS, len(values)))
    return float((1 + np.sum(np.abs(signs @ values) >= observed)) / (1 + FLIPS))


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for multiple tests (Holm 1979), in the order of `p`."""
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def rater_mean(ratings: ArrayLike) -> float | None:
    """Mean over raters of each rater's mean; NaN is a missing rating. None without any rating.

    Args:
        ratings: [raters, videos].
    """
    values = np.asarray(ratings, np.float64)
    is_rated = np.isfinite(values)
    has_rated = is_rated.any(axis=1)
    if not has_rated.any():
        return None
    means = np.where(is_rated, values, 0.0)[has_rated].sum(axis=1) / is_rated[has_rated].sum(axis=1)
    return float(means.mean())


def two_way_interval(ratings: ArrayLike, *, seed: int = 0) -> Interval | None:
    """95 % interval of `rater_mean`: percentile bootstrap over raters and, independently, over videos.

    Ratings of one rater, and of one video, are correlated; an interval that takes them as independent covers far too
    little. None below 5 raters or 5 videos.

    Args:
        ratings: [raters, videos], NaN where a rating is missing.
        seed: of the bootstrap.
    """
    values = np.asarray(ratings, np.float64)
    is_rated = np.isfinite(values)
    values, is_rated = values[is_rated.any(axis=1)], is_rated[is_rated.any(axis=1)]
    values, is_rated = values[:, is_rated.any(axis=0)], is_rated[:, is_rated.any(axis=0)]
    n_raters, n_videos = values.shape
    if min(n_raters, n_videos) < MIN_CLIPS:
        return None
    rng = np.random.default_rng(seed)
    raters = rng.multinomial(n_raters, np.full(n_raters, 1 / n_raters), RESAMPLES)
    videos = rng.multinomial(n_videos, np.full(n_videos, 1 / n_videos), RESAMPLES)
    sums, counts = videos @ np.where(is_rated, values, 0.0).T, videos @ is_rated.T  # [resamples, raters]
    weights = raters * (counts > 0)
    total = weights.sum(axis=1)
    means = (weights * sums / np.maximum(counts, 1)).sum(axis=1)[total > 0] / total[total > 0]
    return _percentiles(means)


def krippendorff_alpha(ratings: ArrayLike) -> float | None:
    """Agreement on an ordinal scale (Krippendorff 2004): 1 if all agree, 0 at chance, below 0 if worse.

    None if it is not defined: no video has two ratings, or all ratings are the same.

    Args:
        ratings: [raters, videos], NaN where a rating is missing.
    """
    values = np.asarray(ratings, np.float64)
    levels = np.unique(values[np.isfinite(values)])
    counts = (values[:, :, None] == levels).sum(axis=0).astype(np.float64)  # [videos, levels]
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return None
    coincidences = np.zeros((len(levels), len(levels)))
    for row in counts:
        coincidences += (np.outer(row, row) - np.diag(row)) / (row.sum() - 1)
    n = coincidences.sum(axis=1)
    below = np.cumsum(n) - n / 2
    distance = (below[:, None] - below[None, :]) ** 2
    expected = (np.outer(n, n) * distance).sum()
    if expected == 0:
        return None
    return float(1 - (n.sum() - 1) * (coincidences * distance).sum() / expected)


def wilson(successes: int, n: int) -> Interval | None:
    """95 % interval of a share (Wilson 1927). None for n = 0."""
    if n == 0:
        return None
    ci = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return float(ci.low), float(ci.high)


def _resampled_blocks(
    n: int, *, groups: Sequence[str] | None, seed: int, count: int
) -> Iterator[tuple[Indices, NDArray[np.bool_]]]:
    """Blocks of resamples: indices [b, k], and which of them are valid [b, k]; the others are padding."""
    if groups is not None and len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} clips")
    names = groups if groups is not None else [""] * n
    members = [np.flatnonzero(np.asarray(names, object) == name) for name in dict.fromkeys(names)]
    sizes = np.array([len(member) for member in members])
    table = np.zeros((len(members), max(sizes, default=0)), np.intp)
    for row, member in zip(table, members, strict=True):
        row[: len(member)] = member
    rng = np.random.default_rng(seed)
    for start in range(0, count if n else 0, _BLOCK):
        n_rows = min(_BLOCK, count - start)
        speakers = rng.integers(0, len(members), size=(n_rows, len(members)))
        clips = rng.random((*speakers.shape, table.shape[1])) * sizes[speakers][..., None]
        index = table[speakers[..., None], clips.astype(np.intp)]
        valid = np.arange(table.shape[1]) < sizes[speakers][..., None]
        yield index.reshape(n_rows, -1), valid.reshape(n_rows, -1)


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    data = np.asarray(values, np.float64)
    if not np.isfinite(data).all():
        raise ValueError("a value is not finite; leave out missing values")
    return data


def _t_interval(mean: float, error: float, n: int) -> Interval:
    half_width = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    return mean - half_width, mean + half_width


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, _TAILS)
    return float(low), float(high)
