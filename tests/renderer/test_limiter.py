"""The limiter changes nothing within the footage's range and compresses softly what is outside."""

import numpy as np
import pytest

from vast_cli.records import N_EXPRESSION, N_STRONG
from vast_cli.renderer.limiter import KNEE, ExpressionRange, limit_expression, measure_range


@pytest.fixture
def allowed() -> ExpressionRange:
    rng = np.random.default_rng(0)
    sd = np.exp(-np.arange(N_EXPRESSION) / 20)
    return measure_range((0.3 + sd * rng.standard_normal((600, N_EXPRESSION))).astype(np.float32))


def along(allowed: ExpressionRange, amounts: np.ndarray) -> np.ndarray:
    """Expressions from the mean along the footage's largest component."""
    result = np.full((len(amounts), N_EXPRESSION), 0.3, np.float32)
    result[:, :N_STRONG] = allowed.mean
    result[:, 0] += amounts
    return result


def length(allowed: ExpressionRange, expression: np.ndarray) -> np.ndarray:
    return np.linalg.norm((expression[:, :N_STRONG] - allowed.mean) @ allowed.whitening, axis=1) / allowed.limit


def test_within_the_range_nothing_changes(allowed: ExpressionRange) -> None:
    expression = along(allowed, np.linspace(-1, 1, 9))
    expression = expression[length(allowed, expression) < KNEE]
    limited, exceeded = limit_expression(expression, allowed, max_exaggeration=1.0)
    np.testing.assert_allclose(limited, expression, atol=1e-6)
    assert not exceeded.any()


def test_the_order_is_kept_and_nothing_exceeds_the_limit(allowed: ExpressionRange) -> None:
    expression = along(allowed, np.linspace(0, 60, 200))
    limited, exceeded = limit_expression(expression, allowed, max_exaggeration=1.0)
    sizes = length(allowed, limited)
    assert (np.diff(sizes) >= -1e-4).all()
    assert sizes.max() <= 1 + 1e-4
    assert exceeded[-1]


def test_weak_components_and_the_direction_are_kept(allowed: ExpressionRange) -> None:
    rng = np.random.default_rng(1)
    expression = along(allowed, np.full(5, 30.0))
    expression[:, N_STRONG:] = rng.standard_normal((5, N_EXPRESSION - N_STRONG))
    limited, _ = limit_expression(expression, allowed, max_exaggeration=1.0)
    np.testing.assert_array_equal(limited[:, N_STRONG:], expression[:, N_STRONG:])
    a, b = (x[:, :N_STRONG] - allowed.mean for x in (limited, expression))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_a_larger_factor_allows_more(allowed: ExpressionRange) -> None:
    expression = along(allowed, np.array([40.0]))
    sizes = [
        length(allowed, limit_expression(expression, allowed, max_exaggeration=factor)[0])[0] for factor in (0.5, 1, 2)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
