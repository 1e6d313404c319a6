"""Limits of every measure that has any: where a clip is marked as a warning, where as a failure, and why.

`vast evaluate` marks clips by this table, the default gates of `vast render` and `vast batch` are its failures, and a
render warns by it. benchmarks/gates.py measured it: a failure is where less than 1 % of real windows of 4 s of 40
people lie beyond, and over 95 % of spoilt ones (docs/gates.md).
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

Level = Literal["fail", "warn"]
Range = tuple[float, float]  # lowest and highest value that is still fine


@dataclass(frozen=True)
class Limit:
    """What a measure may be.

    Attributes:
        measure: its name in `vast evaluate --json`.
        text: for people; `{value}`, `{magnitude}`, `{percent}` and `{footage}` are filled in.
        warn: values outside are worth a look.
        fail: values outside are wrong.
        fail_text: instead of `text` for a failure.
        of_footage: `warn` and `fail` hold for the ratio to the avatar's own footage; without it nothing is marked.
        gate: `--gate default` asks for `fail`.
    """

    measure: str
    text: str
    warn: Range = (-inf, inf)
    fail: Range = (-inf, inf)
    fail_text: str | None = None
    of_footage: bool = False
    gate: bool = False

    def level(self, value: float) -> Level | None:
        """What a value (or ratio, see `of_footage`) deserves."""
        for level, (low, high) in (("fail", self.fail), ("warn", self.warn)):
            if not low <= value <= high:
                return "fail" if level == "fail" else "warn"
        return None


LIMITS = {
    limit.measure: limit
    for limit in (
        Limit(
            "av_length_diff_ms", "video and audio differ by {magnitude:.0f} ms in length", fail=(-40, 40), gate=True
        ),
        Limit("black_frames", "{value:.0f} black frames", fail=(-inf, 0), gate=True),
        Limit("frozen_run", "the video stands still for {value:.0f} frames during speech", fail=(-inf, 3), gate=True),
        Limit("face_lost", "no face in {percent:.0f} % of the frames", fail=(-inf, 0.01), gate=True),
        Limit(
            "sharpness", "the mouth has {value:.2f} of the footage's detail", warn=(0.85, 1.2), fail=(0.8, inf),
            fail_text="the mouth is blurred: {value:.2f} of the footage's detail", gate=True,
        ),
        Limit("flicker_ratio", "flicker is {value:.1f} times the footage's", warn=(0.5, 1.7)),
        Limit("lip_accel_ratio", "the lips move {value:.1f} times as abruptly as the footage's", warn=(0.5, 1.4)),
        Limit("silence_gap", "the lips stay open in silences", warn=(-inf, 0.95)),
        Limit("silence_motion", "the lips move in silences", warn=(-inf, 0.5)),
        Limit(  # other clips of one person reach .42 (95 %), other people begin at .48 (60 clips of 33 persons)
            "identity_dist", "looks little like the person: {value:.2f} from the footage", warn=(-inf, 0.42),
            fail=(-inf, 0.48), fail_text="looks like another person: {value:.2f} from the footage", gate=True,
        ),
        Limit(
            "limited_share", "{percent:.0f} % of the frames were limited to the range of the avatar's footage",
            warn=(-inf, 0.05), fail=(-inf, 0.25),
        ),
        Limit("lagsync_lag", "the video is {value:+.0f} frames late", fail=(-1, 1)),
        Limit("jitter_share", "{percent:.0f} % of the motion is jitter", warn=(-inf, 0.2)),
        Limit(
            "bilabial_closure", "lips close at {value:.2f} of P, B, M; the footage's at {footage:.2f}", warn=(0.6, inf),
            of_footage=True,
        ),
        Limit(
            "blink_rate", "{value:.0f} blinks a minute; the footage has {footage:.0f}", warn=(0.3, 3.0),
            of_footage=True,
        ),
        Limit(
            "lagsync_margin", "lips and audio fit less than in the footage: {value:.2f}, {footage:.2f}",
            warn=(0.6, inf), of_footage=True,
        ),
    )
}  # fmt: skip
MIN_SYNC = 0.01  # gate `sync`: LagSync's margin over the footage's; .8 % of real windows fail, all that are 5 late
