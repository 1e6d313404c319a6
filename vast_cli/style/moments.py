"""Moments of a prompt: where its face rests, how far and how fast each group of components moves, how often it blinks.

The encoder E^p loses the extent of motion: log sd was read out of its code with R2 .2 on new clips. So s carries it
explicitly: s = (z, q), q the moments in units of their spread between clips, 0 at the mean of the training clips.

A clip's level is style + person + chance: a smile, the shape of a jaw that the neutral face did not take, and the few
seconds that were seen. `MomentSpace.split` is linear discriminant analysis with a knob: with S the covariance between
clips of one person, P that between persons and W(n) that of chance in n frames, the style's part of a deviation d is
S (S + `person` P + W(n))^-1 d. What is left, the person's part, is taken out of all expressions, so that neither
encoder nor decoder ever meets it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Bools, Float32, Float64
from vast_cli.records import N_EXPRESSION, N_STRONG, FaceTrack

N_LEVELS = 32  # components of each decoder whose level is held, the largest ones
LEVELS = np.r_[0:N_LEVELS, N_STRONG : N_STRONG + N_LEVELS]
N_SINGLE = 12  # components of each decoder whose spread is held one by one
SPREADS: tuple[tuple[int, int], ...] = (
    *((i, i + 1) for i in range(N_SINGLE)),
    (N_SINGLE, 24),
    (24, N_STRONG),
    *((i, i + 1) for i in range(N_STRONG, N_STRONG + N_SINGLE)),
    (N_STRONG + N_SINGLE, N_STRONG + 32),
    (N_STRONG + 32, N_EXPRESSION),
)  # groups of components, first and one after the last
RATES = ("pace of the lower face", "pace of the upper face", "blinks")
N_MOMENTS = len(LEVELS) + len(SPREADS) + len(RATES)
LEVEL = slice(0, len(LEVELS))
SPREAD = slice(LEVEL.stop, LEVEL.stop + len(SPREADS))
RATE = slice(SPREAD.stop, N_MOMENTS)

FLOOR = 0.03  # canonical units a component: noise of the tracker, taken out of spreads
# robust sd: larger deviations are cut to it before moments are taken: glitches of the tracker, but no blinks
WINSOR = np.r_[np.full(N_LEVELS, 4.0), np.full(N_LEVELS, 12.0)].astype(np.float32)
BLINK_DEPTH = 0.35  # share of the open eye by which the lids must fall
FRAMES_A_MINUTE = 1500.0
HEAD_LAG = 5  # frames


class Moments(NamedTuple):
    """Moments of a clip."""

    values: Float64  # [N_MOMENTS]: levels in canonical units, ln of spreads, ln of paces, ln of 4 + blinks a minute
    n_frames: int


@dataclass(frozen=True)
class MomentSpace:
    """What is known of moments from the training clips; part of the weights.

    Args:
        mean: [N_MOMENTS].
        scale: [N_MOMENTS], sd between clips; of levels: of the style's part.
        chance: [2, N_MOMENTS], variance a, b of chance in n frames: a + b / n.
        style: [64, 64], covariance of levels between clips of one person.
        between: [64, 64], covariance of levels between persons.
        lid: [N_EXPRESSION], opening of the eyes as a linear function of expression, over that of the mean face.
        gap: [N_EXPRESSION], lip gap as a linear function of expression.
        person: the knob: how much of the difference between persons is taken for their faces, 0 for nothing.
    """

    mean: Float32
    scale: Float32
    chance: Float32
    style: Float32
    between: Float32
    lid: Float32
    gap: Float32
    person: float

    def measure(self, expression: Float32, valid: Bools) -> Moments:
        """Moments of `expression` [n, 233] over the frames that are `valid` [n], at least one."""
        kept = expression[valid]
        variance = kept.var(axis=0).astype(np.float64)
        large = kept[:, LEVELS]
        middle = np.median(large, axis=0)
        reach = WINSOR * (1.4826 * np.median(np.abs(large - middle), axis=0) + FLOOR)
        cut = np.clip(large, middle - reach, middle + reach)
        variance[LEVELS] = cut.var(axis=0)
        variance = np.maximum(variance - FLOOR**2, 0.0)
        spreads = np.array([np.log(np.sqrt(variance[a:b].sum()) + FLOOR) for a, b in SPREADS])
        neighbours = valid[1:] & valid[:-1]
        paces = np.zeros(2)
        if neighbours.any():
            steps = np.clip(np.diff(expression[:, LEVELS], axis=0)[neighbours], -reach, reach)
            for k, first in enumerate((0, N_LEVELS)):
                part = slice(first, first + N_SINGLE)
                step = np.sqrt((steps[:, part] ** 2).sum(1).mean())
                paces[k] = np.log((step + FLOOR) / (np.sqrt(variance[LEVELS[part]].sum()) + FLOOR))
        blinks = count_blinks(expression @ self.lid, valid) * FRAMES_A_MINUTE / len(kept)
        values = np.concatenate([cut.mean(axis=0), spreads, paces, [np.log(4 + blinks)]])
        return Moments(values, len(kept))

    def split(self, moments: Moments) -> tuple[Float32, Float32, Float32]:
        """The style's part of a clip's moments, how sure it is, and the person's part of its expressions.

        Returns:
            q [N_MOMENTS] and its standard deviation, both in units of the spread between clips; and the expression
            [233] of the person's face, to subtract from all frames.
        """
        deviation = moments.values - self.mean
        chance = self.chance[0].astype(np.float64) + self.chance[1] / max(moments.n_frames, 1)
        total = self.style + self.person * self.between.astype(np.float64) + np.diag(chance[LEVEL])
        gain = np.linalg.solve(total, self.style.astype(np.float64)).T
        level = gain @ deviation[LEVEL]
        unsure = np.sqrt(np.maximum(np.diag(self.style - gain @ self.style), 1e-8))
        other = deviation[LEVEL.stop :]
        variance = self.scale[LEVEL.stop :].astype(np.float64) ** 2
        keep = variance / (variance + chance[LEVEL.stop :])
        q = np.concatenate([level, keep * other]) / self.scale
        sd = np.concatenate([unsure, np.sqrt(variance * (1 - keep))]) / self.scale
        return q.astype(np.float32), sd.astype(np.float32), self._person(deviation[LEVEL] - level)

    def _person(self, rest: Float64) -> Float32:
        """Expression [233] of the person's part of levels [64]; the lip gap stays, so that closed lips stay closed."""
        expression = np.zeros(N_EXPRESSION)
        expression[LEVELS] = rest
        gap = np.zeros(N_EXPRESSION)
        gap[LEVELS] = self.gap[LEVELS]
        square = float(gap @ gap)
        if square > 0:
            expression -= gap * float(gap @ expression) / square
        return expression.astype(np.float32)


def count_blinks(opening: Float32, valid: Bools) -> int:
    """Runs of frames in which the lids [n], 1 for the mean face's open eye, are below their median by `BLINK_DEPTH`."""
    if not valid.any():
        return 0
    shut = (opening < np.median(opening[valid]) - BLINK_DEPTH) & valid
    return int((shut[1:] & ~shut[:-1]).sum())


def head_motion(track: FaceTrack) -> Float32:
    """How the head moves: sd of pitch, yaw and roll in degrees, and the seconds in which they lose themselves, [2, 3].

    The second is -t / ln r with r the autocorrelation after t = 0.2 s: the time constant of a first-order process.
    """
    angles = np.degrees(track.rotation[track.valid].astype(np.float64))
    if len(angles) <= 2 * HEAD_LAG:
        return np.array([[0.0] * 3, [1.0] * 3], np.float32)
    moved = angles - angles.mean(0)
    variance = (moved**2).mean(0)
    r = (moved[HEAD_LAG:] * moved[:-HEAD_LAG]).mean(0) / np.maximum(variance, 1e-9)
    seconds = -timebase.seconds(HEAD_LAG) / np.log(np.clip(r, 0.05, 0.98))
    return np.stack([np.sqrt(variance), seconds]).astype(np.float32)
