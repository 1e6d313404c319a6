"""Frechet and kernel distances: 0 between equal sets, closed forms between Gaussians, bias as known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from vast_cli.evaluate.measures.frechet import frechet, kid

SETS = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(2, 60), st.integers(1, 20))


def sample(seed, n, d):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * 10 + rng.normal(size=d)


@settings(max_examples=60, deadline=None)
@given(SETS)
def test_a_set_against_itself_is_0_and_order_does_not_matter(case):
    seed, n, m, d = case
    a, b = sample(seed, n, d), sample(seed + 1, m, d)
    assert frechet(a, a) < 1e-6
    assert frechet(a, np.random.default_rng(0).permutation(a)) < 1e-6
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a, b) >= 0


@settings(max_examples=30, deadline=None)
@given(SETS)
def test_equals_the_matrix_root(case):
    seed, n, m, d = case
    n, m = n + 3 * d, m + 3 * d  # regular covariances: else the matrix root itself is inexact
    a, b = sample(seed, n, d), sample(seed + 1, m, d)
    ca, cb = (np.atleast_2d(np.cov(x, rowvar=False)) + 1e-6 * np.eye(d) for x in (a, b))
    root = np.trace(sqrtm(ca @ cb)).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca) + np.trace(cb) - 2 * root
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_shifted_set_costs_the_squared_shift():
    a = sample(0, 50, 8)
    shift = np.arange(8.0)
    assert frechet(a, a + shift) == pytest.approx(shift @ shift, rel=1e-9)


def test_a_scaled_set_costs_its_own_variance():
    a = sample(1, 50, 8)
    a -= a.mean(0)
    # N(0, C) and N(0, s^2 C): (1 - s)^2 tr C
    assert frechet(a, 3 * a, ridge=0) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)), rel=1e-9)


def test_fewer_frames_than_features_and_a_still_set():
    a = sample(2, 10, 80)
    still = np.repeat(a[:1], 10, axis=0)
    assert frechet(a, a) < 1e-6
    assert frechet(a, still) > 0.5 * np.trace(np.cov(a, rowvar=False))
    assert frechet(still, still) < 1e-6


def test_frechet_is_biased_by_few_frames_and_kid_is_not():
    rng = np.random.default_rng(3)
    few = [(rng.normal(size=(20, 16)), rng.normal(size=(20, 16))) for _ in range(100)]
    many = [(rng.normal(size=(400, 16)), rng.normal(size=(400, 16))) for _ in range(10)]
    assert np.mean([frechet(a, b) for a, b in few]) > 10 * np.mean([frechet(a, b) for a, b in many])
    values = [kid(a, b) for a, b in few]
    assert abs(np.mean(values)) < 4 * np.std(values) / 10
    assert min(values) < 0 < max(values)


def test_kid_equals_its_double_sum():
    a, b = sample(4, 7, 5), sample(5, 9, 5)
    x, y = a - b.mean(0), b - b.mean(0)

    def kernel(u, v):
        return (u @ v / 5 + 1) ** 3

    within = [np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    between = np.mean([kernel(u, v) for u in x for v in y])
    assert kid(a, b) == pytest.approx(sum(within) - 2 * between, rel=1e-9)


def test_kid_grows_with_the_shift():
    a, b = sample(6, 200, 6), sample(6, 400, 6)[200:]
    values = [kid(a + shift, b) for shift in (0, 10, 30, 100)]
    assert values == sorted(values)


@pytest.mark.parametrize("measure", [frechet, kid])
def test_invalid_sets_are_refused(measure):
    a = sample(7, 5, 3)
    with pytest.raises(ValueError, match="finite"):
        measure(np.where(np.eye(5, 3) > 0, np.nan, a), a)
    for b in (a[:1], a[:, :2], a[0]):
        with pytest.raises(ValueError, match="shape"):
            measure(a, b)
