"""Keep predicted motion inside what an avatar's footage supports (the paper's Fig. 7 shows what happens without)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vast_cli.core.arrays import Float32
from vast_cli.records import N_STRONG

KNEE = 0.8  # share of the limit from which motion is bent
DIRECTIONS = 6  # of the footage that are watched, nearly all its variance; further ones tell persons apart
QUANTILE = 0.995  # of the footage's own frames that lie inside the limit


@dataclass(frozen=True)
class ExpressionRange:
    """Which strong expressions an avatar's footage shows."""

    mean: Float32  # [85]
    whitening: Float32  # [85, directions], deviations to standard deviations along principal directions
    limit: float  # Mahalanobis length that `QUANTILE` of the footage stays within


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
    expression: Float32, known: ExpressionRange, *, max_exaggeration: float
) -> tuple[Float32, NDArray[np.bool_]]:
    """Draw strong expressions that lie outside the range towards its middle, softly and along their own direction.

    Scaling the whole deviation keeps its shape: clipping components one by one would open closed lips.

    Args:
        expression: [n, 233].
        known: of the avatar.
        max_exaggeration: factor on the range; larger lets more through.

    Returns:
        [n, 233], and which frames [n] were touched.
    """
    deviation = expression[:, :N_STRONG] - known.mean
    length = np.linalg.norm(deviation @ known.whitening, axis=1) / (known.limit * max_exaggeration)
    over = np.maximum(length - KNEE, 0) / (1 - KNEE)
    bent = KNEE + (1 - KNEE) * np.tanh(over)  # slope 1 at the knee, never beyond the limit
    factor = np.where(length > KNEE, bent / np.maximum(length, 1e-6), 1).astype(np.float32)
    result = expression.copy()
    result[:, :N_STRONG] = known.mean + factor[:, None] * deviation
    return result, length > 1
