"""Intervals cover what they promise, tests agree with counts by hand, and undefined figures are None."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vast_cli.evaluate import statistics

Trial = Callable[[np.random.Generator], bool]
NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


def coverage(monkeypatch: pytest.MonkeyPatch, trials: int, trial: Trial) -> float:
    monkeypatch.setattr(statistics, "RESAMPLES", 400)  # 1,000 trials of 10,000 would take minutes
    return float(np.mean([trial(np.random.default_rng(k)) for k in range(trials)]))


@pytest.mark.parametrize("n", [5, 10, 30])
def test_the_interval_of_skewed_clips_covers_their_mean(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    def trial(rng: np.random.Generator) -> bool:
        ci = statistics.interval(rng.gamma(2.0, size=n).tolist(), seed=1)
        return ci is not None and ci[0] <= 2.0 <= ci[1]

    assert coverage(monkeypatch, 300, trial) >= 0.88  # the bare bootstrap has .80 at 5 clips


def test_resampling_speakers_covers_what_resampling_clips_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [f"s{k // 10}" for k in range(80)]

    def trial(grouped: bool) -> Trial:
        def one(rng: np.random.Generator) -> bool:
            values = np.repeat(rng.normal(size=8), 10) + rng.normal(scale=0.5, size=80)
            ci = statistics.interval(values.tolist(), groups=groups if grouped else None)
            return ci is not None and ci[0] <= 0.0 <= ci[1]

        return one

    assert coverage(monkeypatch, 150, trial(grouped=True)) >= 0.82  # eight speakers are few
    assert coverage(monkeypatch, 150, trial(grouped=False)) <= 0.65


def test_the_interval_covers_raters_and_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """15 raters x 10 videos are not 150 independent ratings."""

    def ratings(rng: np.random.Generator) -> np.ndarray:
        return 3.5 + rng.normal(0, 0.4, (15, 1)) + rng.normal(0, 0.4, (1, 10)) + rng.normal(0, 0.7, (15, 10))

    def two_way(rng: np.random.Generator) -> bool:
        ci = statistics.two_way_interval(ratings(rng))
        return ci is not None and ci[0] <= 3.5 <= ci[1]

    def naive(rng: np.random.Generator) -> bool:
        ci = statistics.interval(ratings(rng).ravel().tolist())
        return ci is not None and ci[0] <= 3.5 <= ci[1]

    assert coverage(monkeypatch, 300, two_way) >= 0.90
    assert coverage(monkeypatch, 300, naive) <= 0.70


def test_few_clips_have_no_interval() -> None:
    assert statistics.interval([1.0, 2.0, 3.0, 4.0]) is None
    assert statistics.resampled_interval(lambda index: 1.0, 4) is None
    assert statistics.two_way_interval(np.ones((4, 20))) is None
    assert statistics.two_way_interval(np.ones((20, 4))) is None
    assert statistics.wilson(0, 0) is None


def test_below_20_clips_the_interval_is_the_t_interval() -> None:
    values = [0.2, 0.4, 0.3, 0.9, 0.5, 0.1]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert statistics.interval(values) == pytest.approx((expected.low, expected.high))


def test_from_20_clips_on_the_interval_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=40)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000).confidence_interval
    assert statistics.interval(values.tolist()) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_the_seed_decides_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=30).tolist()
    assert statistics.interval(values, seed=3) == statistics.interval(values, seed=3)
    assert statistics.interval(values, seed=3) != statistics.interval(values, seed=4)


@pytest.mark.parametrize("n", [8, 30])
def test_a_set_level_mean_has_the_interval_of_the_mean(n: int) -> None:
    values = np.random.default_rng(2).normal(size=n)
    ci = statistics.resampled_interval(lambda index: float(values[index].mean()), n)
    assert ci == pytest.approx(statistics.interval(values.tolist()), abs=0.03)


def test_a_measure_that_fails_on_resamples_has_no_interval() -> None:
    assert statistics.resampled_interval(lambda index: float("nan"), 30, count=50) is None


def test_resampled_speakers_have_only_their_own_clips() -> None:
    groups = ["a"] * 4 + ["b"] * 2
    sizes = {len(index) for index in statistics.resample(6, groups=groups, count=200)}
    assert sizes == {4, 6, 8}  # b twice, each once, a twice
    for index in statistics.resample(6, groups=groups, count=200):
        if len(index) == 8:
            assert index.max() < 4
    assert all(len(index) == 6 for index in statistics.resample(6, count=20))


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        statistics.interval([1.0, float("nan"), 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="paired"):
        statistics.paired([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="groups"):
        statistics.interval([1.0] * 30, groups=["a"])


def test_the_exact_test_counts_flips() -> None:
    assert statistics.sign_flip([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert statistics.sign_flip([1.0, -1.0]) == 1.0
    assert statistics.sign_flip([0.1] * 15) == pytest.approx(2 / 2**15)
    assert statistics.sign_flip([0.0] * 5) == 1.0


def test_random_flips_come_near_the_exact_p() -> None:
    values = np.random.default_rng(5).normal(0.4, size=16)
    exact = stats.permutation_test(
        (values, np.zeros(16)), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    ).pvalue  # fmt: skip
    assert statistics.sign_flip(values) == pytest.approx(exact, abs=0.01)


def test_a_paired_comparison_removes_the_differences_between_clips() -> None:
    rng = np.random.default_rng(0)
    clips = rng.normal(scale=5.0, size=30)  # clips differ a lot, methods a little
    comparison = statistics.paired((clips + 0.5 + rng.normal(scale=0.3, size=30)).tolist(), clips.tolist())
    assert comparison.difference == pytest.approx(0.5, abs=0.15)
    assert comparison.decided and comparison.p < 0.001 and comparison.n == 30
    same = statistics.paired(clips.tolist(), clips.tolist())
    assert not same.decided and same.p == 1.0 and same.difference == 0.0
    few = statistics.paired([3.0, 3.1, 3.2], [1.0, 1.0, 1.0])
    assert few.ci95 is None and not few.decided and few.p == 0.25


@settings(max_examples=30, deadline=None)
@given(NUMBERS)
def test_swapping_a_and_b_keeps_p(values: list[float]) -> None:
    zeros = [0.0] * len(values)
    one, other = statistics.paired(values, zeros), statistics.paired(zeros, values)
    assert one.difference == -other.difference
    assert one.p == other.p and 0 < one.p <= 1


@given(st.lists(st.floats(0, 1), max_size=10))
def test_holm_only_raises_and_keeps_the_order(p: list[float]) -> None:
    adjusted = statistics.holm(p)
    assert all(a >= b and a <= 1 for a, b in zip(adjusted, p, strict=True))
    assert [x for _, x in sorted(zip(p, adjusted, strict=True))] == sorted(adjusted)


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_krippendorffs_own_example() -> None:
    """Four observers, twelve units, of his "Computing Krippendorff's Alpha-Reliability" (2011), section D."""
    table = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
        [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
    ])  # fmt: skip
    assert statistics.krippendorff_alpha(table) == pytest.approx(0.815, abs=5e-4)


def test_agreement_at_its_ends() -> None:
    videos = np.array([1.0, 2, 3, 4, 5, 2, 3])
    assert statistics.krippendorff_alpha(np.tile(videos, (4, 1))) == pytest.approx(1.0)
    chance = np.random.default_rng(0).integers(1, 6, (10, 200)).astype(float)
    assert statistics.krippendorff_alpha(chance) == pytest.approx(0.0, abs=0.03)
    assert statistics.krippendorff_alpha(np.full((3, 4), 2.0)) is None
    assert statistics.krippendorff_alpha([[1.0, np.nan], [np.nan, 2.0]]) is None


def test_ordinal_agreement_ignores_how_far_numbers_lie_apart() -> None:
    ratings = np.random.default_rng(1).integers(1, 6, (5, 20)).astype(float)
    stretched = np.array([1.0, 2.0, 4.0, 8.0, 16.0])[ratings.astype(int) - 1]
    assert statistics.krippendorff_alpha(ratings) == pytest.approx(statistics.krippendorff_alpha(stretched))


def test_every_rater_has_the_same_weight() -> None:
    nan = np.nan
    assert statistics.rater_mean([[1.0, 1.0, 1.0], [4.0, nan, nan]]) == pytest.approx(2.5)
    assert statistics.rater_mean([[1.0, 3.0], [nan, nan]]) == pytest.approx(2.0)
    assert statistics.rater_mean([[nan]]) is None


def test_missing_ratings_leave_the_interval_where_it_was() -> None:
    rng = np.random.default_rng(3)
    full = rng.integers(1, 6, (12, 12)).astype(float)
    holes = full.copy()
    holes[rng.random(full.shape) < 0.1] = np.nan
    whole, thinned = statistics.two_way_interval(full), statistics.two_way_interval(holes)
    assert whole is not None and thinned is not None
    assert thinned == pytest.approx(whole, abs=0.25)
    padded = np.vstack([full, np.full((1, 12), np.nan)])  # a rater without ratings does not count
    assert statistics.two_way_interval(padded) == whole


def test_wilson_intervals_of_thirty_words() -> None:
    assert statistics.wilson(7, 30) == pytest.approx((0.12, 0.41), abs=0.005)
    assert statistics.wilson(15, 30) == pytest.approx((0.33, 0.67), abs=0.005)
    low, high = statistics.wilson(0, 30) or (1.0, 0.0)
    assert low == 0.0 and 0.1 < high < 0.12
