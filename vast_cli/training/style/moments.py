"""Learns the space of moments from clips: means, spreads between clips and persons, and what chance does to them."""

from collections.abc import Sequence

import numpy as np

from vast_cli.core.arrays import Float32, Float64
from vast_cli.face import FaceModel
from vast_cli.face.model import INNER_LIPS
from vast_cli.style.moments import LEVEL, LEVELS, N_MOMENTS, SPREADS, MomentSpace
from vast_cli.training.style.corpus import StyleClip

MIN_FRAMES = 40  # shorter clips say little about moments
LENGTHS = (25, 50, 100, 200)  # frames of the parts that chance is measured on
CHANCE = 0.5  # of the variance of levels between parts of a clip: the rest is style that changes within it
SHRINK = 0.1  # of covariances towards their diagonal: there are more levels than persons with several clips
LEAST_SCALE = 1e-3  # of a moment that is the same in all clips
EYES = ((159, 145), (386, 374))  # upper and lower lid


def fit_moment_space(clips: Sequence[StyleClip], face: FaceModel, *, person: float) -> MomentSpace:
    """Measure moments of the clips and their covariances.

    Args:
        clips: training clips with expressions as tracked.
        face: the face model.
        person: see `MomentSpace`.
    """
    basis = face.basis.reshape(len(face.basis), -1, 3)
    opening = sum(basis[:, up, 1] - basis[:, low, 1] for up, low in EYES)
    at_rest = sum(face.v_bar[up, 1] - face.v_bar[low, 1] for up, low in EYES)
    blank = MomentSpace(
        mean=np.zeros(N_MOMENTS, np.float32),
        scale=np.ones(N_MOMENTS, np.float32),
        chance=np.zeros((2, N_MOMENTS), np.float32),
        style=np.eye(len(LEVELS), dtype=np.float32),
        between=np.zeros((len(LEVELS), len(LEVELS)), np.float32),
        lid=(opening / at_rest).astype(np.float32),
        gap=basis[:, INNER_LIPS[0], 1] - basis[:, INNER_LIPS[1], 1],
        person=person,
    )
    long = [clip for clip in clips if clip.weight.sum() >= MIN_FRAMES]
    measured = np.stack([_measure(blank, clip) for clip in long])
    chance = _fit_chance(blank, long)
    lengths = np.array([clip.weight.sum() for clip in long])
    noise = chance[0] + chance[1] / lengths[:, None]

    persons = _by_person(long)
    means = np.stack([measured[index].mean(0) for index in persons])
    # a person counts once, whatever the number of clips
    mean = means.mean(0)
    style = _within(measured[:, LEVEL], noise[:, LEVEL], persons)
    between = _between(means[:, LEVEL] - mean[LEVEL], persons, style, noise[:, LEVEL])
    counts = np.concatenate([np.full(len(index), 1 / len(index)) for index in persons])
    order = np.concatenate(persons)
    variance = np.average((measured[order] - mean) ** 2 - noise[order], axis=0, weights=counts)
    scale = np.sqrt(np.maximum(variance, 0.05 * np.average((measured[order] - mean) ** 2, axis=0, weights=counts)))
    scale[LEVEL] = np.sqrt(np.diag(style))
    return MomentSpace(
        mean=mean.astype(np.float32),
        scale=np.maximum(scale, LEAST_SCALE).astype(np.float32),
        chance=chance.astype(np.float32),
        style=style.astype(np.float32),
        between=between.astype(np.float32),
        lid=blank.lid,
        gap=blank.gap.astype(np.float32),
        person=person,
    )


def moment_maps(space: MomentSpace, n_expression: int) -> tuple[Float32, Float32]:
    """What a unit of q does to levels and to ln gains of components: two matrices [N_MOMENTS, n_expression]."""
    levels = np.zeros((N_MOMENTS, n_expression), np.float32)
    spreads = np.zeros((N_MOMENTS, n_expression), np.float32)
    levels[np.arange(len(LEVELS)), LEVELS] = space.scale[LEVEL]
    for k, (first, stop) in enumerate(SPREADS, start=len(LEVELS)):
        spreads[k, first:stop] = space.scale[k]
    return levels, spreads


def _measure(space: MomentSpace, clip: StyleClip, part: slice = slice(None)) -> Float64:
    return space.measure(clip.expression[part], clip.weight[part] > 0).values


def _by_person(clips: Sequence[StyleClip]) -> list[list[int]]:
    persons: dict[str, list[int]] = {}
    for i, clip in enumerate(clips):
        persons.setdefault(clip.group[1], []).append(i)
    return list(persons.values())


def _fit_chance(space: MomentSpace, clips: Sequence[StyleClip]) -> Float64:
    """Variance a + b / n of moments over parts of n frames of a clip, [2, N_MOMENTS].

    For levels a is 0: what does not fall with the length is drift of the style itself, and counting it as chance took
    a fifth off every level that was transferred.
    """
    rows, targets = [], []
    for n in LENGTHS:
        spread = []
        for clip in clips:
            starts = range(0, clip.n_frames - n + 1, n)
            parts = [slice(s, s + n) for s in starts if clip.weight[s : s + n].sum() >= 0.8 * n][:6]
            if len(parts) >= 2:
                spread.append(np.stack([_measure(space, clip, part) for part in parts]).var(0, ddof=1))
        if spread:
            rows.append([1.0, 1.0 / n])
            targets.append(np.median(spread, axis=0))
    if not rows:
        return np.zeros((2, N_MOMENTS))
    fit, *_ = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)
    scales = np.array(rows)[:, 1:]
    fit[:, LEVEL] = 0
    fit[1, LEVEL] = CHANCE * (scales * np.array(targets)[:, LEVEL]).sum(0) / (scales**2).sum()
    variance: Float64 = np.maximum(fit, 0)  # a part cannot vary less than nothing
    return variance


def _within(levels: Float64, noise: Float64, persons: list[list[int]]) -> Float64:
    """Covariance of levels between clips of one person, without chance."""
    total, weight = np.zeros((levels.shape[1], levels.shape[1])), 0.0
    for index in persons:
        if len(index) < 2:
            continue
        off = levels[index] - levels[index].mean(0)
        # ten clips of one recording do not count ten times as much as two
        share = 1 / np.sqrt(len(index))
        total += share * (off.T @ off - (len(index) - 1) * np.diag(noise[index].mean(0)))
        weight += share * (len(index) - 1)
    if weight == 0:
        return np.diag(levels.var(0) + 1e-6)
    return _positive(total / weight)


def _between(means: Float64, persons: list[list[int]], style: Float64, noise: Float64) -> Float64:
    """Covariance of levels between persons, without style and chance."""
    total = means.T @ means / max(len(means) - 1, 1)
    share = float(np.mean([1 / len(index) for index in persons]))
    chance = np.mean([noise[index].mean(0) / len(index) for index in persons], axis=0)
    return _positive(total - share * style - np.diag(chance))


def _positive(covariance: Float64) -> Float64:
    """The nearest covariance with eigenvalues above 0, shrunk towards its diagonal."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    result = (vectors * np.maximum(values, 0)) @ vectors.T
    diagonal = np.maximum(np.diag(np.diag(result)), 1e-6 * np.eye(len(result)))
    blended: Float64 = (1 - SHRINK) * result + SHRINK * diagonal
    return blended
