"""Distances between two sets of feature vectors: Frechet's between Gaussians, and the kernel distance (KID).

Both grow with blur and stillness alike. The Frechet distance is biased by the number of vectors: give both sides as
many and print how many. The kernel distance is unbiased and decides where they differ.
"""

import numpy as np

from vast_cli.core.arrays import Float64

RIDGE = 1e-6  # added to the diagonals: fewer frames than features leave a singular covariance


def frechet(a: Float64, b: Float64, *, ridge: float = RIDGE) -> float:
    """||m1 - m2||^2 + Tr(C1 + C2 - 2 (C1 C2)^1/2) with the means and sample covariances of two sets.

    The trace of the root is the sum of the square roots of the eigenvalues of C1 C2; they are taken as the singular
    values of F1^T F2 with C = F F^T, which loses no digits where an eigenvalue is near 0. Symmetric; a set against
    itself is 0 to rounding.

    Args:
        a: [n, d], n >= 2.
        b: [m, d], m >= 2.
        ridge: added to the diagonals of both covariances; 0 for the plain FID.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    a, b = _checked(a, b)
    shift = a.mean(0) - b.mean(0)
    factor_a, factor_b = (_factor(np.atleast_2d(np.cov(x, rowvar=False)), ridge) for x in (a, b))
    root = float(np.linalg.svd(factor_a.T @ factor_b, compute_uv=False).sum())
    traces = float(np.square(factor_a).sum() + np.square(factor_b).sum())
    return max(float(shift @ shift) + traces - 2 * root, 0.0)


def kid(a: Float64, b: Float64) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x . y / d + 1)^3.

    Features are taken minus the mean of `b`, and are not divided by its deviation: a still truth has next to none. May
    be slightly negative for two samples of one distribution.

    Args:
        a: [n, d], n >= 2, the set to evaluate.
        b: [m, d], m >= 2, the truth.

    Raises:
        ValueError: other shapes, or values that are not finite.
    """
    a, b = _checked(a, b)
    centre = b.mean(0)
    a, b = a - centre, b - centre
    return _mean_of_pairs(a) + _mean_of_pairs(b) - 2 * float(_kernel(a, b).mean())


def _kernel(x: Float64, y: Float64) -> Float64:
    values: Float64 = (x @ y.T / x.shape[1] + 1) ** 3
    return values


def _mean_of_pairs(x: Float64) -> float:
    """Mean kernel of two different vectors of one set."""
    values = _kernel(x, x)
    return float(values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))


def _factor(covariance: Float64, ridge: float) -> Float64:
    """F with F F^T = covariance + ridge."""
    values, vectors = np.linalg.eigh(covariance)
    factor: Float64 = vectors * np.sqrt(np.maximum(values, 0) + ridge)
    return factor


def _checked(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"sets of shape {a.shape} and {b.shape}; [n, d] and [m, d] with n, m >= 2 are needed")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features that are not finite")
    return a, b
