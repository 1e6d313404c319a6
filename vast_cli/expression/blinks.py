"""Blinks at the rate of the style: those that D^ar samples, and one where it has not blinked for too long.

Blinks are rare and short, so D^ar learns their rate badly: in some styles it did not blink in a minute, where people
do 8 - 60 times. How often a prompt blinks is one of its moments.
"""

from dataclasses import dataclass

import numpy as np

from vast_cli.core import timebase
from vast_cli.core.arrays import Float32

DEEP = 0.35  # share of the open eye by which lids must fall to count, as in the moments
CLOSED = -0.95  # opening over that of the mean face in the middle of a blink
PROFILE = (0.25, 0.75, 1.0, 0.95, 0.65, 0.35, 0.12)  # how far a blink closes the eye, frame by frame
RATE_RANGE = (8.0, 60.0)  # a minute
PATIENCE = 1.15  # of the mean time between blinks, before one is added
REGULARITY = 4.0  # shape of the gamma distribution of the time between blinks


@dataclass
class BlinkState:
    """Where the eyes are between two frames."""

    since: int = 0  # frames since the last blink
    due: float = 0.0  # frames after it at which one is added
    phase: int = len(PROFILE)  # frame of a blink that is under way


class Blinks:
    """Adds blinks to the weak components of a run.

    Args:
        lids: [148], opening of the eyes as a linear function of the weak components.
        opening: [148], the most natural motion that opens them by 1.
        rest: opening where the style rests.
        rate: blinks a minute that the style asks for.
        random: generator of the run.
    """

    def __init__(
        self, lids: Float32, opening: Float32, *, rest: float, rate: float, random: np.random.Generator
    ) -> None:
        self.lids, self.opening, self.rest, self.random = lids, opening, rest, random
        self.mean = PATIENCE * timebase.to_frames(60.0) / float(np.clip(rate, *RATE_RANGE)) - len(PROFILE)
        self.state = BlinkState(due=self._draw())

    def add(self, weak: Float32) -> Float32:
        """The next frames [n, 148], canonical units, with blinks."""
        result: Float32 = weak.copy()
        heights, state = weak @ self.lids, self.state
        for t, height in enumerate(heights.tolist()):
            if state.phase < len(PROFILE):
                closed = PROFILE[state.phase]
                result[t] += closed * min(CLOSED - height, 0.0) * self.opening
                state.phase += 1
                state.since = 0
            elif height < self.rest - DEEP:
                state.since, state.due = 0, self._draw()
            else:
                state.since += 1
                if state.since >= state.due:
                    state.phase, state.due = 0, self._draw()
        return result

    def _draw(self) -> float:
        return float(self.random.gamma(REGULARITY, self.mean / REGULARITY))
