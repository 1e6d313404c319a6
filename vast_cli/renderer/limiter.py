"""Limits predicted motion to the range of an avatar's footage (the paper's Fig. 7 shows the failures without)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.records import N_STRONG

KNEE = 0.8  # share of the limit above which motion is compressed
DIRECTIONS = 6  # principal directions that are limited: nearly all variance; further ones distinguish persons
QUANTILE = 0.995  # share of the footage's own frames within the limit


@dataclass(frozen=True)
class ExpressionRange:
    """Range of the strong expressions in an avatar's footage."""

    mean: Float32  # [85]
    whitening: Float32  # [85, directions], deviations to standard deviations along principal directions
    limit: float  # Mahalanobis length, the `QUANTILE` of the footage


def measure_range(expression: Float32) -> ExpressionRange:
    """The range of a footage's expressions [n, 233]."""
    strong = expression[:, :N_STRONG].astype(np.float64)
    mean = strong.mean(0)
    covariance = np.cov(strong - mean, rowvar=False) + 1e-8 * np.eye(N_STRONG)
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors[:, ::-1][:, :DIRECTIONS] / np.sqrt(values[::-1][:DIRECTIONS])
    length = np.linalg.norm((strong - mean) @ whitening, axis=1)
    return ExpressionRange(mean.astype(np.float32), whitening.astype(np.float32), float(np.quantile(length, QUANTILE)))


def limit_expression(
    expression: Float32, allowed: ExpressionRange, *, max_exaggeration: float
) -> tuple[Float32, NDArray[np.bool_]]:
    """Move strong expressions outside the range softly towards its mean, along their own direction.

    Scaling the whole deviation keeps its shape; clipping single components would open closed lips.

    Args:
        expression: [n, 233].
        allowed: range of the avatar.
        max_exaggeration: factor on the range.

    Returns:
        The expressions [n, 233], and which frames [n] were outside the range.
    """
    deviation = expression[:, :N_STRONG] - allowed.mean
    length = np.linalg.norm(deviation @ allowed.whitening, axis=1) / (allowed.limit * max_exaggeration)
    over = np.maximum(length - KNEE, 0) / (1 - KNEE)
    compressed = KNEE + (1 - KNEE) * np.tanh(over)  # slope 1 at the knee, never above the limit
    factor = np.where(length > KNEE, compressed / np.maximum(length, 1e-6), 1).astype(np.float32)
    result = expression.copy()
    result[:, :N_STRONG] = allowed.mean + factor[:, None] * deviation
    return result, length > 1
