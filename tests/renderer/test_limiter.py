"""The limiter: nothing changes inside what the footage shows, everything outside is drawn in softly."""

import numpy as np
import pytest

from vast_cli.records import N_EXPRESSION, N_STRONG
from vast_cli.renderer.limiter import KNEE, ExpressionRange, limit_expression, measure_range


@pytest.fixture
def known() -> ExpressionRange:
    rng = np.random.default_rng(0)
    sd = np.exp(-np.arange(N_EXPRESSION) / 20)
    return measure_range((0.3 + sd * rng.standard_normal((600, N_EXPRESSION))).astype(np.float32))


def along(known: ExpressionRange, amounts: np.ndarray) -> np.ndarray:
    """Expressions from the middle along the footage's largest component."""
    result = np.full((len(amounts), N_EXPRESSION), 0.3, np.float32)
    result[:, :N_STRONG] = known.mean
    result[:, 0] += amounts
    return result


def length(known: ExpressionRange, expression: np.ndarray) -> np.ndarray:
    return np.linalg.norm((expression[:, :N_STRONG] - known.mean) @ known.whitening, axis=1) / known.limit


def test_inside_nothing_changes(known: ExpressionRange) -> None:
    expression = along(known, np.linspace(-1, 1, 9))
    expression = expression[length(known, expression) < KNEE]
    limited, touched = limit_expression(expression, known, max_exaggeration=1.0)
    np.testing.assert_allclose(limited, expression, atol=1e-6)
    assert not touched.any()


def test_more_stays_more_and_nothing_passes_the_limit(known: ExpressionRange) -> None:
    expression = along(known, np.linspace(0, 60, 200))
    limited, touched = limit_expression(expression, known, max_exaggeration=1.0)
    sizes = length(known, limited)
    assert (np.diff(sizes) >= -1e-4).all()
    assert sizes.max() <= 1 + 1e-4
    assert touched[-1]


def test_weak_components_and_direction_stay(known: ExpressionRange) -> None:
    rng = np.random.default_rng(1)
    expression = along(known, np.full(5, 30.0))
    expression[:, N_STRONG:] = rng.standard_normal((5, N_EXPRESSION - N_STRONG))
    limited, _ = limit_expression(expression, known, max_exaggeration=1.0)
    np.testing.assert_array_equal(limited[:, N_STRONG:], expression[:, N_STRONG:])
    a, b = (x[:, :N_STRONG] - known.mean for x in (limited, expression))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_larger_factor_lets_more_through(known: ExpressionRange) -> None:
    expression = along(known, np.array([40.0]))
    sizes = [
        length(known, limit_expression(expression, known, max_exaggeration=factor)[0])[0] for factor in (0.5, 1, 2)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
