"""Gates: limits that a finished video must reach before it gets its name, `--gate sync>=0.8,frames=exact`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vast_cli.core.errors import VastError
from vast_cli.core.limits import LIMITS, MIN_SYNC
from vast_cli.core.text import suggest

Sign = Literal[">=", "<=", "=exact"]
Direction = Literal["higher", "lower", "both"]


@dataclass(frozen=True)
class Gateable:
    """A quantity that a gate can limit.

    Attributes:
        better: which way is good.
        measures: of `vast evaluate`, that it is read from.
        parts: of a frame that those need (`PARTS` of evaluate/observation); nothing else of a video is measured.
    """

    better: Direction
    measures: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()


NAMES: Final[dict[str, Gateable]] = {
    "frames": Gateable("lower"),
    "av_length_diff_ms": Gateable("lower", ("av_length_diff_ms",)),
    "black_frames": Gateable("lower", ("black_frames",)),
    "frozen_run": Gateable("lower", ("frozen_run",), ("change",)),
    "face_lost": Gateable("lower", ("face_lost",)),
    "sharpness": Gateable("both", ("sharpness",), ("sharpness",)),
    "flicker_ratio": Gateable("both", ("flicker_ratio",), ("flicker",)),
    "lip_accel_ratio": Gateable("both", ("lip_accel_ratio",), ("change",)),
    "silence_gap": Gateable("lower", ("silence_gap",)),
    "silence_motion": Gateable("lower", ("silence_motion",)),
    "bilabial_closure": Gateable("higher", ("bilabial_closure",)),
    "blink_rate": Gateable("both", ("blink_rate",)),
    "identity_dist": Gateable("lower", ("identity_dist",), ("descriptors",)),
    "limited_share": Gateable("lower", ("limited_share",)),
    "seam": Gateable("lower"),
    "sync": Gateable("higher", ("lagsync_margin", "lagsync_lag"), ("mouth",)),
}


@dataclass(frozen=True)
class Gate:
    """One limit."""

    name: str
    sign: Sign
    limit: float = 0.0
    lenient: bool = False  # a value that this video, footage or installation cannot give is a warning only

    def __str__(self) -> str:
        return f"{self.name}=exact" if self.sign == "=exact" else f"{self.name}{self.sign}{self.limit:g}"

    def describe_miss(self, value: float) -> str:
        """What is wrong with a value that does not pass."""
        if self.sign == "=exact":
            return f"{self.name} not exact"
        return f"{self.name} is {value:.4g}, {'below' if self.sign == '>=' else 'above'} {self.limit:g}"

    def passes(self, value: float) -> bool:
        """Whether a measured value is within the limit."""
        if self.sign == "=exact":
            return value == 0
        return value >= self.limit if self.sign == ">=" else value <= self.limit


MAX_LAG: Final = LIMITS["lagsync_lag"].fail[1]  # frames


def _default() -> tuple[Gate, ...]:
    """`--gate default`: the failures of the table of limits, and what only a gate can measure."""
    found = [Gate("frames", "=exact")]
    for limit in LIMITS.values():
        if limit.gate:
            low, high = limit.fail
            lenient = limit.measure == "identity_dist"  # needs the extra `evaluate`
            below = math.isfinite(high)
            found.append(Gate(limit.measure, "<=" if below else ">=", high if below else low, lenient=lenient))
    found.append(Gate("sync", ">=", MIN_SYNC, lenient=True))
    return tuple(found)


DEFAULT: Final = _default()

_FORM = re.compile(r"(?P<name>[A-Za-z_]+)\s*(?:(?P<sign>>=|<=)\s*(?P<limit>\S+)|=\s*(?P<exact>exact))")


def parse(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Gates from text: `sync>=0.8,frames=exact`; `default` adds the recommended ones, `none` drops those before it.

    A later gate on the same measure and side replaces an earlier one.

    Raises:
        VastError: `vast_option_invalid`, naming the nearest measure.
    """
    gates: dict[tuple[str, Sign], Gate] = {}
    for text in texts:
        for word in filter(None, (word.strip() for word in str(text).split(","))):
            if word == "none":
                gates.clear()
                continue
            for gate in DEFAULT if word == "default" else (_gate(word),):
                gates[gate.name, gate.sign] = gate
    return tuple(gates.values())


def _gate(word: str) -> Gate:
    match = _FORM.fullmatch(word)
    name = match["name"] if match else re.split(r"[^A-Za-z_]", word, maxsplit=1)[0]
    if name not in NAMES:
        hint = suggest(name, [*NAMES, "default", "none"])
        raise VastError("vast_option_invalid", f"`{name or word}` is no gate", hint=hint)
    better = NAMES[name].better
    usual = "=exact" if name == "frames" else "<=0.1" if better == "lower" else ">=0.9"
    if match is None:
        hint = f"like `--gate '{name}{usual}'`, in quotes: a shell takes `>` and `<` for itself"
        raise VastError("vast_option_invalid", f"gate `{word}` is not understood", hint=hint)
    if (name == "frames") != (match["exact"] is not None):
        raise VastError("vast_option_invalid", f"gate `{word}` is not understood", hint=f"write `{name}{usual}`")
    if match["exact"]:
        return Gate(name, "=exact")
    sign: Sign = ">=" if match["sign"] == ">=" else "<="
    if better != "both" and (sign == ">=") != (better == "higher"):
        hint = f"{better} is better: `{name}{'>=' if better == 'higher' else '<='}{match['limit']}`"
        raise VastError("vast_option_invalid", f"gate `{word}` would let the bad ones through", hint=hint)
    try:
        limit = float(match["limit"])
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise VastError("vast_option_invalid", f"`{match['limit']}` in gate `{word}` is no number")
    return Gate(name, sign, limit)
