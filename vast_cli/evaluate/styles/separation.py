"""Measures how far labels lie apart in an embedding: silhouette, nearest neighbour, linear probe, and shuffled labels.

A map of an embedding in the plane shows clusters where there are none. These figures are computed in the embedding
itself. Points that are left out together (windows of one video, or all of one person) are never on both sides of a
split, and shuffled labels show what each figure is by chance on the same points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vast_cli.core.arrays import Float64, Int64

N_PERMUTATIONS = 1000
RIDGE = 1.0  # of the linear probe on standardised features; scikit-learn's C = 1
PROBE_STEPS = 50  # predictions no longer change (`test_probe_is_logistic_regression`)
BLOCK = 250  # labellings processed at once, for memory


@dataclass(frozen=True)
class Separation:
    """One figure, its mean with shuffled labels, and how often those are at least as good."""

    value: float | None
    chance: float | None  # mean over shuffled labels
    p: float | None  # (1 + shuffles at least as good) / (1 + shuffles)
    n: int  # clips
    reason: str | None = None  # why there is no value


@dataclass(frozen=True)
class LabelledPoints:
    """Labelled points of an embedding; rows of one `unit` (windows of a clip) count as one clip together."""

    values: Float64  # [n, d]
    label: Int64  # [n], from 0
    unit: Int64  # [n], from 0; one label a unit

    @property
    def weight(self) -> Float64:
        """[n], sums to 1: every clip has the same weight, however many windows it has."""
        counts = np.bincount(self.unit)
        return 1.0 / (counts[self.unit] * len(counts))

    def labellings(self, n: int, *, seed: int) -> Int64:
        """[1 + n, rows]: the labels, then shuffled ones; windows of a clip keep one label."""
        first = np.unique(self.unit, return_index=True)[1]
        of_unit = self.label[first]
        random = np.random.default_rng(seed)
        shuffled = [of_unit, *(random.permutation(of_unit) for _ in range(n))]
        return np.stack(shuffled)[:, self.unit]


def silhouette(points: LabelledPoints, *, permutations: int = N_PERMUTATIONS, seed: int = 0) -> Separation:
    """Mean silhouette by cosine distance (Rousseeuw 1987), -1 to 1; the only point of a label counts as 0."""
    distance = cosine_distances(points.values)
    return _permutation_test(points, lambda labels: _silhouettes(distance, labels), permutations, seed)


def nearest_neighbour(
    points: LabelledPoints, group: Int64, *, permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Separation:
    """Share of points whose nearest by cosine distance, outside their own `group` [n], has their label."""
    if len(np.unique(group)) < 2:
        return _too_few(points)
    distance = cosine_distances(points.values)
    distance[group[:, None] == group[None]] = np.inf
    nearest = distance.argmin(axis=1)
    return _permutation_test(
        points, lambda labels: (labels[:, nearest] == labels).astype(np.float64), permutations, seed
    )


def linear_probe(
    points: LabelledPoints, group: Int64, *, permutations: int = N_PERMUTATIONS, seed: int = 0
) -> Separation:
    """Share of points that a logistic regression on all other groups labels correctly; `group` is [n]."""
    if len(np.unique(group)) < 2:
        return _too_few(points)

    def correct(labels: Int64) -> Float64:
        result = np.empty(labels.shape)
        for left_out in np.unique(group):
            test = group == left_out
            result[:, test] = predict(points.values[~test], labels[:, ~test], points.values[test]) == labels[:, test]
        return result

    return _permutation_test(points, correct, permutations, seed)


def cosine_distances(values: Float64) -> Float64:
    """1 - cosine of every pair: [n, n]."""
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    distance: Float64 = np.clip(1 - unit @ unit.T, 0, 2)
    return distance


def _too_few(points: LabelledPoints) -> Separation:
    return Separation(None, None, None, len(np.unique(points.unit)), "too_few_clips")


def _permutation_test(
    points: LabelledPoints, score: Callable[[Int64], Float64], permutations: int, seed: int
) -> Separation:
    """Compare the true labelling with shuffled ones; `score` turns labellings [m, n] into scores [m, n]."""
    n = len(np.unique(points.unit))
    n_labels = len(np.unique(points.label))
    if n_labels < 2 or n_labels >= n:
        return _too_few(points)
    labels = points.labellings(permutations, seed=seed)
    means = np.concatenate([score(labels[k : k + BLOCK]) @ points.weight for k in range(0, len(labels), BLOCK)])
    value, chance = float(means[0]), means[1:]
    # equal figures differ in the last digits by the order of summation
    value = round(value, 12)
    p = (1 + int((chance >= value - 1e-9).sum())) / (1 + permutations)
    return Separation(value, float(chance.mean()), p, n)


def _silhouettes(distance: Float64, labels: Int64) -> Float64:
    """Silhouette of every point for every labelling: [m, n]."""
    n_labels = int(labels.max()) + 1
    member = (labels[..., None] == np.arange(n_labels)).astype(np.float64)  # [m, n, K]
    counts = member.sum(1, keepdims=True)  # [m, 1, K]
    sums = distance @ member  # to all points of each label
    own_sum = (sums * member).sum(-1)
    own_count = (counts * member).sum(-1)
    inside = own_sum / np.maximum(own_count - 1, 1)
    means = np.where((member > 0) | (counts == 0), np.inf, sums / np.maximum(counts, 1))
    outside = means.min(-1)
    return np.where(own_count > 1, (outside - inside) / np.maximum(np.maximum(inside, outside), 1e-12), 0.0)


def predict(train: Float64, labels: Int64, test: Float64) -> Int64:
    """Multinomial logistic regression with ridge penalty, for many labellings of the same points at once.

    Minimises sum of -ln p(label) + RIDGE / 2 |W|^2, the intercept free, on features standardised by `train`. Steps
    use the fixed bound 1/2 X^T X of the Hessian (Bohning 1992), so that one inverse serves all labellings.

    Args:
        train: [n, d].
        labels: [m, n], from 0.
        test: [k, d].

    Returns:
        [m, k].
    """
    centre, spread = train.mean(0), train.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    x, y = (train - centre) / spread, (test - centre) / spread
    # the penalty is invariant to rotation, so n dimensions are enough
    base = np.linalg.svd(x, full_matrices=False)[2]
    x, y = np.c_[x @ base.T, np.ones(len(x))], np.c_[y @ base.T, np.ones(len(y))]
    penalty = np.full(x.shape[1], RIDGE)
    penalty[-1] = 0.0
    inverse = np.linalg.inv(0.5 * x.T @ x + np.diag(penalty)).astype(np.float32)
    x, y = x.astype(np.float32), y.astype(np.float32)
    keep = penalty.astype(np.float32)[:, None]
    n_labels = int(labels.max()) + 1
    target = (labels.T[..., None] == np.arange(n_labels)).astype(np.float32)  # [n, m, K]
    weights = ahead = np.zeros((x.shape[1], len(labels) * n_labels), np.float32)  # one matrix for all labellings
    for step in range(PROBE_STEPS):
        odds = (x @ ahead).reshape(target.shape)
        odds -= odds.max(-1, keepdims=True)
        np.exp(odds, out=odds)
        odds /= odds.sum(-1, keepdims=True)
        slope = x.T @ (target - odds).reshape(len(x), -1) - keep * ahead
        before, weights = weights, ahead + inverse @ slope
        ahead = weights + np.float32(step / (step + 3)) * (weights - before)  # Nesterov
    predicted: Int64 = (y @ weights).reshape(len(y), len(labels), n_labels).argmax(-1).T
    return predicted


def indices(names: Sequence[str]) -> tuple[Int64, list[str]]:
    """Names as numbers from 0 in alphabetical order, and the distinct names."""
    distinct, number = np.unique(np.array(names), return_inverse=True)
    return number.astype(np.int64), [str(name) for name in distinct]
