"""Figures of speaking style, on plain arrays: what `benchmarks/style.py` measures tracks and predictions with.

Expressions are [n, 233] in canonical units. Moments are taken of the 12 largest strong and the 12 largest weak
components (the smaller ones are mostly noise of the tracker), low-passed at 8 Hz, in units of sqrt(sd^2 + .05^2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, filtfilt
from scipy.spatial.distance import pdist

from vast_cli.face import FaceModel
from vast_cli.records import N_STRONG, N_VERTICES

Array = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

LARGEST = np.r_[0:12, N_STRONG : N_STRONG + 12]  # components that moments are taken of
STRONG, WEAK = slice(0, 12), slice(12, 24)  # of LARGEST
FLOOR = 0.05  # canonical units
LOG_FLOOR = 0.02  # of a spread, in units of a component
PASS_HZ, FRAME_HZ = 8.0, 25.0
WINDOW, HOP = 75, 40  # frames, of Dvt
MAX_LAG = 10  # half frames
FEW = 12  # people of a small line-up
PHONES_PBM = (7, 22, 27)
CLOSED = 0.25  # of the speech gap
EYES = ((159, 145, 33, 133), (386, 374, 362, 263))  # upper lid, lower lid, corners
BLINK = 0.6  # of the median opening


# --- moments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Level and spread of `LARGEST`."""

    level: Array  # [24]
    log_sd: Array  # [24]


def low_pass(x: Array) -> Array:
    """[n, c] without what is faster than 8 Hz; fewer than 13 frames as they are."""
    if len(x) < 13:
        return x
    b, a = butter(3, 2 * PASS_HZ / FRAME_HZ)
    result: Array = filtfilt(b, a, x, axis=0)
    return result


def component_units(sd: Array) -> Array:
    """Units of the components, [233], from the face model's sd."""
    result: Array = np.sqrt(sd**2 + FLOOR**2)
    return result


def moments(expression: Array, sd: Array) -> Moments:
    """Mean and log spread of an expression [n, 233]."""
    z = low_pass(expression[:, LARGEST] / component_units(sd)[LARGEST])
    return Moments(z.mean(0), np.log(z.std(0) + LOG_FLOOR))


def variation(expression: Array) -> float:
    """Dvt (paper 4.2): mean distance of two frames of a window of 3 s, in mesh units, of [n, c] components."""
    z = low_pass(expression)
    starts = range(0, max(1, len(z) - WINDOW + 1), HOP)
    return float(np.mean([pdist(z[s : s + WINDOW]).mean() for s in starts]))


def spread(series: Array) -> float:
    """Standard deviation within 3 s of a measure [n], low-passed; the mean over windows."""
    z = low_pass(series[:, None])[:, 0]
    starts = range(0, max(1, len(z) - WINDOW + 1), HOP)
    return float(np.mean([z[s : s + WINDOW].std() for s in starts]))


def slope(predicted: Array, truth: Array) -> float:
    """How far predictions [k, d] follow the truth [k, d] from row to row, pooled over columns: 1 is all the way."""
    p, t = predicted - predicted.mean(0), truth - truth.mean(0)
    return float((p * t).sum() / (t * t).sum())


# --- nearest ---------------------------------------------------------------------------------------------------------


def ranks(queries: Array, owners: Ints, references: Array, *, centred: bool) -> Ints:
    """How many other references are nearer to a query than its owner's.

    Args:
        queries: [q, d].
        owners: [q], row of `references` that a query belongs to.
        references: [k, d].
        centred: compare directions from the mean of either side, blind to shrinking and to a common offset; else
            Euclidean.

    Returns:
        [q], 0 where the owner's is the nearest.
    """
    if centred:
        people = np.unique(owners)
        q = queries - np.mean([queries[owners == k].mean(0) for k in people], 0)
        r = references - references.mean(0)
        q = q / np.linalg.norm(q, axis=1, keepdims=True).clip(1e-9)
        r = r / np.linalg.norm(r, axis=1, keepdims=True).clip(1e-9)
        distance = -q @ r.T
    else:
        distance = (queries**2).sum(1)[:, None] - 2 * queries @ references.T + (references**2).sum(1)
    own = distance[np.arange(len(owners)), owners]
    result: Ints = (distance < own[:, None]).sum(1)
    return result


def top1_of(rank: Ints, n: int, *, few: int = FEW) -> Array:
    """Chance that the owner's reference is the nearest of `few` drawn from `n`, its own among them: [q]."""
    few = min(few, n)
    return np.array([comb(n - 1 - int(r), few - 1) / comb(n - 1, few - 1) for r in rank])


def by_owner(values: Array, owners: Ints) -> Array:
    """Mean of the values of each owner, [k]."""
    return np.array([values[owners == k].mean() for k in np.unique(owners)])


# --- intervals -------------------------------------------------------------------------------------------------------


def estimate(statistic: Callable[..., float], *arrays: Any, draws: int = 1000) -> dict[str, float]:
    """A statistic with the 95 % interval of a bootstrap over rows, which all arrays share."""
    data = [np.asarray(a) for a in arrays]
    n = len(data[0])
    if n == 0:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    random = np.random.default_rng(0)
    drawn = [statistic(*(a[rows] for a in data)) for rows in random.integers(0, n, (draws, n))]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return {"value": float(statistic(*data)), "low": float(low), "high": float(high), "n": n}


# --- lips ------------------------------------------------------------------------------------------------------------


def correlation(a: Array, b: Array) -> float:
    """Pearson's r of two series [n]; 0 where one does not move."""
    if len(a) < 3 or a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def best_lag_correlation(predicted: Array, truth: Array) -> float:
    """The largest r over constant lags of up to `MAX_LAG` half frames."""
    at = np.arange(len(truth))
    return max(correlation(np.interp(at + k / 2, at, predicted), truth) for k in range(-MAX_LAG, MAX_LAG + 1))


def phone_frames(ppg: Array, phones: tuple[int, ...] = PHONES_PBM, *, least: float = 0.6) -> list[slice]:
    """Video frames of each run of phones of two PPG frames or more, a frame longer on both sides, from [T, 40]."""
    heard = np.concatenate([[False], ppg[:, list(phones)].sum(1) > least, [False]])
    edges = np.flatnonzero(heard[1:] != heard[:-1]).reshape(-1, 2)
    return [slice(max(0, a // 2 - 1), (b + 1) // 2 + 1) for a, b in edges if b - a >= 2]


def closed_share(gap: Array, places: list[slice]) -> float:
    """Share of places in which the lip gap [n] falls below `CLOSED` of the speech gap; NaN without places."""
    open_gap = np.median(gap[gap >= np.percentile(gap, 30)])
    inside = [p for p in places if p.stop <= len(gap)]
    return float(np.mean([gap[p].min() < CLOSED * open_gap for p in inside])) if inside else float("nan")


def lip_distance(predicted: Array, truth: Array, still: Array) -> float:
    """Distance of lips [n, v, 2] to the truth's, as a share of that of lips that stand still at `still` [v, 2]."""
    distance = np.linalg.norm(predicted - truth, axis=-1).mean()
    return float(distance / max(np.linalg.norm(still - truth, axis=-1).mean(), 1e-9))


# --- measures of the face --------------------------------------------------------------------------------------------


def face_measures(face: FaceModel) -> dict[str, Array]:
    """Linear measures as directions [233]: `expression @ direction` is in percent of the eye distance."""
    basis = face.basis.reshape(-1, N_VERTICES, 3) * (100 / face.iod)

    def axis(k: int, *vertices: int) -> Array:
        return basis[:, list(vertices), k].mean(1)

    return {
        "gap": axis(1, 13) - axis(1, 14),
        "jaw": -axis(1, 152),
        "width": axis(0, 291) - axis(0, 61),
        "corners": axis(1, 61, 291),
        "protrusion": axis(2, 0, 17) - axis(2, 61, 291),
        "brows": axis(1, 55, 285, 70, 300),
        "brow_inner": axis(1, 55, 285),
        "brow_outer": axis(1, 70, 300),
        "brow_distance": axis(0, 285) - axis(0, 55),
        "lids": axis(1, 159, 386) - axis(1, 145, 374),
        "gaze_x": axis(0, 468, 473),
        "gaze_y": axis(1, 468, 473),
    }


def blinks(face: FaceModel, identity: Array, expression: Array) -> float:
    """Blinks a minute: runs of frames in which the lids are nearer than `BLINK` of their median distance."""
    mesh = face.decode(identity.astype(np.float32), expression.astype(np.float32))
    openings = [
        np.linalg.norm(mesh[:, u] - mesh[:, d], axis=1) / np.linalg.norm(mesh[:, a] - mesh[:, b], axis=1)
        for u, d, a, b in EYES
    ]
    opening = np.mean(openings, 0)
    shut = opening < BLINK * np.median(opening)
    return float((shut[1:] & ~shut[:-1]).sum() / len(shut) * FRAME_HZ * 60)


# --- emotions --------------------------------------------------------------------------------------------------------


def way(made: Array, truth: Array) -> float:
    """How much of the way `truth` [d] the change `made` [d] goes: 1 is all of it, below 0 the wrong direction."""
    return float(made @ truth / (truth @ truth))


def cosine(made: Array, truth: Array) -> float:
    """Cosine of two changes."""
    return float(made @ truth / max(np.linalg.norm(made) * np.linalg.norm(truth), 1e-9))


def purity(vectors: Array, labels: list[str], people: list[str], asked: NDArray[np.bool_]) -> Array:
    """Whether the nearest vector of another person has the same label.

    Args:
        vectors: [n, d].
        labels: n emotions.
        people: n names.
        asked: [n], which are asked for; those whose label no other person has are left out.

    Returns:
        1 or 0 for each that is asked for.
    """
    label, person = np.array(labels), np.array(people)
    distance = ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    distance[person[:, None] == person[None]] = np.inf
    shared = [bool(((label == a) & (person != p)).any()) for a, p in zip(labels, people, strict=True)]
    return (label[distance.argmin(1)] == label)[np.array(shared, bool) & asked].astype(float)


# --- leak and stillness ----------------------------------------------------------------------------------------------


def neutral_distance(a: Array, b: Array, iod: float) -> float:
    """Distance of two neutral meshes [478, 3], rms over vertices, percent of the eye distance."""
    return float(100 * np.sqrt(((a - b) ** 2).sum(-1).mean()) / iod)


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of True in [n]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int))).reshape(-1, 2)
    return int((edges[:, 1] - edges[:, 0]).max()) if len(edges) else 0
