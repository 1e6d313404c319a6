"""Arithmetic that measures share."""

import numpy as np

from vast_cli.core.arrays import Float64


def mean(values: Float64) -> float | None:
    """Mean of the finite values; None without any."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
