"""Limits that a finished video must reach before it gets its name: `--gate sync>=0.8,frames=exact`.

What is measured is what `vast evaluate` measures; ratios are to the avatar's own footage (`Avatar.yardstick`).
"""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from vast_cli.errors import VastError

if TYPE_CHECKING:
    from vast_cli import pipeline, renderer

Sign = Literal[">=", "<=", "=exact"]
Direction = Literal["higher", "lower", "both"]


@dataclass(frozen=True)
class Gateable:
    """What can be asked for: which way is good, and which measures of `vast evaluate` it is read from."""

    better: Direction
    measures: tuple[str, ...] = ()


NAMES: Final[dict[str, Gateable]] = {
    "frames": Gateable("lower"),
    "av_length_diff_ms": Gateable("lower", ("av_length_diff_ms",)),
    "black_frames": Gateable("lower", ("black_frames",)),
    "frozen_run": Gateable("lower", ("frozen_run",)),
    "face_lost": Gateable("lower", ("face_lost",)),
    "sharpness": Gateable("both", ("sharpness",)),
    "flicker_ratio": Gateable("both", ("flicker_ratio",)),
    "lip_accel_ratio": Gateable("both", ("lip_accel_ratio",)),
    "silence_gap": Gateable("lower", ("silence_gap",)),
    "silence_motion": Gateable("lower", ("silence_motion",)),
    "bilabial_closure": Gateable("higher", ("bilabial_closure",)),
    "blink_rate": Gateable("both", ("blink_rate",)),
    "identity_dist": Gateable("lower", ("identity_dist",)),
    "limited_share": Gateable("lower", ("limited_share",)),
    "sync": Gateable("higher", ("lagsync_margin", "lagsync_lag")),
}


@dataclass(frozen=True)
class Gate:
    """One limit."""

    name: str
    sign: Sign
    limit: float = 0.0

    def __str__(self) -> str:
        return f"{self.name}=exact" if self.sign == "=exact" else f"{self.name}{self.sign}{self.limit:g}"

    def passes(self, value: float) -> bool:
        """Whether a measured value is within the limit."""
        if self.sign == "=exact":
            return value == 0
        return value >= self.limit if self.sign == ">=" else value <= self.limit


DEFAULT: Final = (
    Gate("frames", "=exact"),
    Gate("av_length_diff_ms", "<=", 40.0),
    Gate("black_frames", "<=", 0.0),
    Gate("frozen_run", "<=", 4.0),
    Gate("face_lost", "<=", 0.01),
    Gate("sharpness", ">=", 0.75),
)

_FORM = re.compile(r"(?P<name>[A-Za-z_]+)\s*(?:(?P<sign>>=|<=)\s*(?P<limit>\S+)|=\s*(?P<exact>exact))")


def parse(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Limits from options: `sync>=0.8,frames=exact`, `default` for the recommended ones, `none` for none of those before.

    A later limit on the same measure and side replaces an earlier one.

    Raises:
        VastError: `vast_option_invalid`, naming the nearest measure.
    """
    found: dict[tuple[str, Sign], Gate] = {}
    for text in texts:
        for word in filter(None, (word.strip() for word in str(text).split(","))):
            if word == "none":
                found.clear()
                continue
            for gate in DEFAULT if word == "default" else (_gate(word),):
                found[gate.name, gate.sign] = gate
    return tuple(found.values())


def _gate(word: str) -> Gate:
    match = _FORM.fullmatch(word)
    name = match["name"] if match else re.split(r"[^A-Za-z_]", word, maxsplit=1)[0]
    if name not in NAMES:
        near = difflib.get_close_matches(name, [*NAMES, "default", "none"], n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(NAMES)}, default, none"
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


@dataclass(frozen=True)
class GateResult:
    """What was measured of one video.

    Attributes:
        values: by gate; null where it could not be measured.
        missed: limits that are not reached, in words; what cannot be measured never passes in silence.
        figures: the clip's share of an evaluation document (an item of `clips` in `vast.evaluate/1`).
        warnings: what to look at though it fails no limit, in words.
    """

    values: dict[str, float | None]
    missed: tuple[str, ...]
    figures: dict[str, Any]
    warnings: tuple[str, ...] = ()


class Keeper:
    """Measures gates; loads its judges when a job first needs them.

    Args:
        models: the worker's networks.
        threads: of the networks and of looking at a video.
    """

    def __init__(self, models: "pipeline.Models", *, threads: int) -> None:
        self._models = models
        self._threads = max(1, threads)

    def measure(
        self,
        video: Path,
        *,
        audio: Path | None,
        prompt: Path | None,
        avatar: "renderer.Avatar",
        gates: Sequence[Gate],
        n_frames: int,
        limited_share: float | None = None,
        seed: int = 0,
    ) -> GateResult:
        """Measure what `gates` ask for.

        Args:
            video: a finished video.
            audio: the sound spoken, for a video without sound of its own.
            prompt: named in the figures.
            avatar: whose footage is the yardstick.
            gates: limits; nothing else is measured.
            n_frames: frames that were planned.
            limited_share: of the render, as it told.
            seed: of what is drawn at random.

        Raises:
            VastError: `vast_bad_media`, `vast_input_missing`; what merely cannot be measured is a missed gate.
        """
        raise NotImplementedError
