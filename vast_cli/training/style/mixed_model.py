"""A linear mixed model of style vectors: what a label does, apart from what people are like.

The vector of a person under a label is taken for

    mean of everybody + what the label does + what the person is like + the rest,

the last three independent Gaussians. Their variances are estimated by restricted maximum likelihood (EM), each
direction by itself: the principal directions of the vectors, in units of their spread. The estimate of a label's
effect is the best linear prediction of it (Henderson 1975): the mean of its people, pulled to zero where people of one
label differ, the more the fewer they are; a person seen under several labels counts by how the labels differ in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vast_cli.core.arrays import Bools, Float64, Int64

ROUNDS = 60  # of EM; variances move by less than a hundredth then
LEAST_VARIANCE = 1e-8  # of directions with variance 1


@dataclass(frozen=True)
class Design:
    """Who and what each vector shows.

    Attributes:
        people: [n], name of the person.
        labels: [n].
        kinds: label -> its kind: labels of one kind have effects of one size.
    """

    people: Sequence[str]
    labels: Sequence[str]
    kinds: dict[str, str]

    @property
    def names(self) -> list[str]:
        """All labels, in alphabetical order."""
        return sorted(set(self.labels))

    def of_label(self) -> Float64:
        """[n, labels], 1 where a vector shows the label."""
        return _indicator(self.labels, self.names)

    def groups(self) -> list[Float64]:
        """Indicators [n, k] of the random effects: the labels of each kind, people, each vector by itself."""
        kinds = sorted({self.kinds[name] for name in self.names})
        by_kind = [[name for name in self.names if self.kinds[name] == kind] for kind in kinds]
        labels = [_indicator(self.labels, names) for names in by_kind]
        return [*labels, _indicator(self.people, sorted(set(self.people))), np.eye(len(self.people))]

    def label_groups(self) -> list[int]:
        """Index in `groups` of each of `names`."""
        kinds = sorted({self.kinds[name] for name in self.names})
        return [kinds.index(self.kinds[name]) for name in self.names]


@dataclass(frozen=True)
class LabelEffects:
    """What labels do, in the space of the vectors and in whitened directions.

    Attributes:
        vectors: label -> [d], mean of everybody + what the label does.
        rank: [n], how many other labels' effects, estimated without the person, are nearer to the vector than its own
            label's; -1 for a label that nobody else shows.
        n_labels: that ranks are among.
        follow: label -> slope of its left-out people's deviations on the effect without them: 1 is the right size.
    """

    vectors: dict[str, Float64]
    rank: Int64
    n_labels: int
    follow: dict[str, float]


def label_effects(vectors: Float64, design: Design) -> LabelEffects:
    """Fit the model.

    Args:
        vectors: [n, d], of at least three people.
        design: who and what they show.
    """
    centre, unit = vectors.mean(0), vectors.std(0) + 1e-9
    _, _, directions = np.linalg.svd((vectors - centre) / unit, full_matrices=False)
    y = ((vectors - centre) / unit) @ directions.T  # [n, directions]
    groups = design.groups()
    fits = [_fit(column, groups) for column in y.T]
    of_label, group_of = design.of_label(), design.label_groups()
    effect = np.stack([fit.variances[group_of] * (of_label.T @ fit.residual) for fit in fits], axis=1)
    means = np.array([fit.mean for fit in fits])
    placed = (effect + means) @ directions * unit + centre
    rank, follow = _leave_people_out(y - means, design, fits)
    n_labels = int((_people_of(design) >= 2).sum())
    return LabelEffects(dict(zip(design.names, placed, strict=True)), rank, n_labels, follow)


def chance_of_ranks(ranks: Int64, n_labels: int) -> float:
    """Probability that ranks of a label which means nothing add up to as little: of uniform ranks below `n_labels`."""
    total = np.ones(1)
    for _ in ranks:
        total = np.convolve(total, np.full(n_labels, 1 / n_labels))
    return float(total[: ranks.sum() + 1].sum())


@dataclass(frozen=True)
class _Fit:
    """The model of one direction.

    Attributes:
        mean: of everybody.
        variances: of each group.
        precision: [n, n], inverse covariance of the vectors.
        residual: [n], `precision` times the deviations from the mean.
    """

    mean: float
    variances: Float64
    precision: Float64
    residual: Float64


def _fit(y: Float64, groups: Sequence[Float64]) -> _Fit:
    """Restricted maximum likelihood by EM (Searle et al. 1992, 8.3) for one direction [n]."""
    covariances = [group @ group.T for group in groups]
    sizes = np.array([group.shape[1] for group in groups], np.float64)
    variances = np.full(len(groups), y.var() / len(groups))
    for _ in range(ROUNDS):
        precision = _invert(variances, covariances)
        ones = precision.sum(1)
        projection = precision - np.outer(ones, ones) / ones.sum()  # the mean is estimated from the same vectors
        py = projection @ y
        explained = np.array([((group.T @ py) ** 2).sum() for group in groups])
        traces = np.array([(projection * covariance).sum() for covariance in covariances])
        variances = np.maximum(variances + variances**2 * (explained - traces) / sizes, LEAST_VARIANCE)
    precision = _invert(variances, covariances)
    mean = float(precision.sum(1) @ y / precision.sum())
    return _Fit(mean, variances, precision, precision @ (y - mean))


def _invert(variances: Float64, covariances: Sequence[Float64]) -> Float64:
    inverse: Float64 = np.linalg.inv(np.einsum("k,kij->ij", variances, np.stack(covariances)))
    return inverse


def _leave_people_out(y: Float64, design: Design, fits: Sequence[_Fit]) -> tuple[Int64, dict[str, float]]:
    """Compare everybody with the effects that are estimated without them, by distance in units of people and rest."""
    names, of_label, group_of = design.names, design.of_label(), design.label_groups()
    people, labels = np.array(design.people), np.array([names.index(label) for label in design.labels])
    unit = 1 / np.sqrt([fit.variances[-2:].sum() for fit in fits])
    rank = np.full(len(y), -1, np.int64)
    products = np.zeros((len(names), 2))
    for person in np.unique(people):
        out = people == person
        effect = np.stack([_without(fit, out, of_label, group_of) for fit in fits], axis=1) * unit
        known = of_label[~out].any(0)
        for i in np.flatnonzero(out):
            if not known[labels[i]]:
                continue
            own, deviation = effect[labels[i]], y[i] * unit
            distance = np.where(known, ((effect - deviation) ** 2).sum(1), np.inf)
            rank[i] = (distance < distance[labels[i]]).sum()
            products[labels[i]] += own @ deviation, own @ own
    follow = {name: float(a / b) if b > 0 else float("nan") for name, (a, b) in zip(names, products, strict=True)}
    return rank, follow


def _without(fit: _Fit, out: Bools, of_label: Float64, group_of: Sequence[int]) -> Float64:
    """Effects [labels] in one direction without some vectors; the inverse of the others' covariance from the whole."""
    block = fit.precision[np.ix_(out, out)]
    residual = fit.residual[~out] - fit.precision[np.ix_(~out, out)] @ np.linalg.solve(block, fit.residual[out])
    effects: Float64 = fit.variances[group_of] * (of_label[~out].T @ residual)
    return effects


def _people_of(design: Design) -> Float64:
    """Number of people of each label."""
    pairs = set(zip(design.people, design.labels, strict=True))
    return np.array([sum(label == name for _, label in pairs) for name in design.names], np.float64)


def _indicator(values: Sequence[str], names: Sequence[str]) -> Float64:
    indicator: Float64 = (np.array(values)[:, None] == np.array(names)[None]).astype(np.float64)
    return indicator
