"""Turns of the head around the template's poses, as far and as fast as the head of a prompt moves.

The template moves as its person did. A prompt whose head moves further gets what is missing as smooth noise: turns
about the neck, so that the collar stays where it is, and never further than the footage, which is all that plate and
textures know.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32, Float64
from vast_cli.renderer.scene import Face

# canonical units: where heads turn about within half a second, least squares over 273 clips of people who talk
PIVOT = np.array([0.0, -5.5, -4.7], np.float32)
FAR = 0.99  # share of the template's rotations that are within the range of turns, on every axis and together
KNEE = 0.75  # of the range: what is within stays as it is
SPREAD_LIMIT = 1.25  # of the template's sd: with more the head would jump between the ends of its range
FASTEST_S, SLOWEST_S = 0.3, 10.0  # of a prompt's seconds; a faster head is the tracker's noise
LAG = 5  # frames, 0.2 s, at which `Style.head` measures how fast the head moves
BLOCK = 500  # frames drawn at once; more than any pole remembers: 500 keep^499 < 1e-5
TINY = 1e-6

Pose = tuple[Float32, Float32, Float32]  # rotation [n, 3], scale [n], translation [n, 3]
Axes = tuple[float, float, float]  # pitch, yaw, roll: the components of rotation vectors, radians


@dataclass(frozen=True)
class HeadMotion:
    """Smooth random turns of the head.

    A turn is a function of the number of its frame alone, so that neither runs nor segments show. It is white noise
    through two equal first-order filters in a row, u_t = keep u_{t-1} + n_t and x_t = keep x_{t-1} + u_t.

    Attributes:
        spread: standard deviations.
        keep: poles of the filters.
        middle: mean rotation of the template.
        low, high: ends of its range on each axis, from the middle.
        reach: end of its range in all directions, 1 at the end of an axis.
        seed: of the noise.
    """

    spread: Axes
    keep: Axes
    middle: Axes
    low: Axes
    high: Axes
    reach: float
    seed: int

    @classmethod
    def in_style(cls, head: Float32, template: Float32, *, amount: float, seed: int) -> "HeadMotion | None":
        """What the head of a prompt does beyond the template; None if the template moves as far already.

        Args:
            head: [2, 3], `Style.head`.
            template: [t, 3], its rotations.
            amount: factor on the spread that the template lacks: at 1 the head gets the prompt's.
            seed: of the noise.
        """
        own = template.std(axis=0, dtype=np.float64)
        wanted = np.radians(head[0].astype(np.float64))
        lacking = np.sqrt(np.maximum(wanted**2 - own**2, 0.0))
        spread = np.minimum(amount * lacking, SPREAD_LIMIT * own)
        if (spread < TINY).all():
            return None
        middle = template.mean(axis=0, dtype=np.float64)
        low, high = np.quantile(template - middle, (1 - FAR, FAR), axis=0)
        return cls(
            spread=_axes(spread),
            keep=_axes(_poles(np.clip(head[1].astype(np.float64), FASTEST_S, SLOWEST_S))),
            middle=_axes(middle),
            low=_axes(low),
            high=_axes(high),
            reach=float(np.quantile(_distances(template - middle, low, high), FAR)),
            seed=seed,
        )

    def turns(self, start: int, n: int) -> Float64:
        """Turns of the frames start ... start + n - 1, without limits: [n, 3], radians."""
        first, last = start // BLOCK, (start + n - 1) // BLOCK
        blocks = np.concatenate([_unit_block(k, self.keep, self.seed) for k in range(first, last + 1)])
        result: Float64 = blocks[start - first * BLOCK :][:n] * self.spread
        return result

    def turn(self, pose: Pose, start: int, *, face: Face) -> Pose:
        """The template's poses turned about the neck, softly kept within the footage's range.

        Args:
            pose: of the frames from `start` on.
            start: number of the first video frame.
            face: places the neck.
        """
        rotation, scale, translation = pose
        own = rotation.astype(np.float64) - self.middle
        turned = (self._limit(own + self.turns(start, len(own)), own) + self.middle).astype(np.float32)
        neck = np.broadcast_to(PIVOT, (len(own), 1, 3))
        moved = face.place(neck, rotation, scale, translation) - face.place(neck, turned, scale, translation)
        return turned, scale, (translation + moved[:, 0]).astype(np.float32)

    def _limit(self, turned: Float64, own: Float64) -> Float64:
        """Rotations kept in a ball: the footage reaches the ends of the axes one at a time, not together.

        Rotations near the middle stay as they are, those further out come in ever more; no turn takes a rotation
        further than the edge of the ball, or than the template is itself.

        Args:
            turned: [n, 3], rotations with turns, from the middle of the template.
            own: [n, 3], without.
        """
        distance, without = (_distances(rotation, self.low, self.high) for rotation in (turned, own))
        knee, edge = np.maximum(without, KNEE * self.reach), np.maximum(without, self.reach)
        width = np.maximum(edge - knee, TINY)
        softened = np.minimum(distance, knee) + width * np.tanh(np.maximum(distance - knee, 0.0) / width)
        result: Float64 = turned * (softened / np.maximum(distance, TINY))
        return result


def _distances(rotation: Float64, low: Axes | Float64, high: Axes | Float64) -> Float64:
    """How far rotations [n, 3] from the middle are out: [n, 1], 1 at the end of an axis."""
    share = rotation / np.where(rotation > 0, np.maximum(high, TINY), np.minimum(low, -TINY))
    result: Float64 = np.linalg.norm(share, axis=1, keepdims=True)
    return result


@functools.lru_cache(maxsize=4)
def _unit_block(index: int, keep: Axes, seed: int) -> Float64:
    """Turns of variance 1 of the block `index`: [BLOCK, 3]. The filters as their impulse response, (j + 1) keep^j."""
    noise = np.concatenate([_noise(index, seed), _noise(index + 1, seed)])
    step = np.arange(BLOCK)
    axes = []
    for axis, pole in enumerate(keep):
        response = (step + 1) * pole**step
        response /= np.sqrt((response**2).sum())
        axes.append(np.convolve(noise[1:, axis], response, mode="valid"))
    return np.stack(axes, 1)


def _noise(index: int, seed: int) -> Float64:
    return np.random.default_rng([seed, 2, index]).standard_normal((BLOCK, 3))  # [seed, 1] is the lower face's


def _poles(seconds: Float64) -> Float64:
    """Poles with which two filters in a row have the autocorrelation exp(-t / seconds) after t = 0.2 s, by bisection.

    The autocorrelation after h frames is (1 + h (1 - k^2) / (1 + k^2)) k^h, and rises with the pole k.
    """
    wanted = np.exp(-timebase.seconds(LAG) / seconds)
    low, high = np.zeros_like(seconds), np.ones_like(seconds)
    for _ in range(50):
        pole = (low + high) / 2
        above = (1 + LAG * (1 - pole**2) / (1 + pole**2)) * pole**LAG > wanted
        low, high = np.where(above, low, pole), np.where(above, pole, high)
    return low


def _axes(values: Iterable[float]) -> Axes:
    pitch, yaw, roll = (float(value) for value in values)
    return pitch, yaw, roll
