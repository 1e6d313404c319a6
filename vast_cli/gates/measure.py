"""Limits that a finished video must reach before it gets its name: `--gate sync>=0.8,frames=exact`.

What is measured is what `vast evaluate` measures; ratios are to the avatar's own footage (`Avatar.yardstick`).
"""

import functools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from vast_cli.core.errors import VastError
from vast_cli.core.text import suggest

if TYPE_CHECKING:
    from vast_cli import renderer, sync
    from vast_cli.evaluate.external.descriptor import Descriptor
    from vast_cli.evaluate.footage.statistics import Yardstick
    from vast_cli.evaluate.observation.clip import Tools
    from vast_cli.pipeline.models import Models

Sign = Literal[">=", "<=", "=exact"]
Direction = Literal["higher", "lower", "both"]


@dataclass(frozen=True)
class Gateable:
    """What can be asked for: which way is good, which measures of `vast evaluate` it is read from, and what those read.

    `parts` are of `evaluate.portrait.PARTS`: nothing else of a video is looked at closely.
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
    lenient: bool = False  # what video, footage or the packages installed cannot tell is a warning only

    def __str__(self) -> str:
        return f"{self.name}=exact" if self.sign == "=exact" else f"{self.name}{self.sign}{self.limit:g}"

    def complaint(self, value: float) -> str:
        """What is wrong with a value that does not pass."""
        if self.sign == "=exact":
            return f"{self.name} not exact"
        return f"{self.name} is {value:.4g}, {'below' if self.sign == '>=' else 'above'} {self.limit:g}"

    def passes(self, value: float) -> bool:
        """Whether a measured value is within the limit."""
        if self.sign == "=exact":
            return value == 0
        return value >= self.limit if self.sign == ">=" else value <= self.limit


NOTHING_TO_TELL: Final = frozenset({"too_short", "no_speech", "no_silence", "no_weights", "not_in_footage"})
NO_BORDER: Final = "no_border"
OF_THE_FILE: Final = frozenset({"frames", "seam"})  # measured here, not by `vast evaluate`
MAX_LAG: Final = 1  # frames

# in windows of 4 s of 40 people less than 1 % of real ones miss these, over 95 % of spoilt ones do: benchmarks/gates.py
DEFAULT: Final = (
    Gate("frames", "=exact"),
    Gate("av_length_diff_ms", "<=", 40.0),
    Gate("black_frames", "<=", 0.0),
    Gate("frozen_run", "<=", 3.0),
    Gate("face_lost", "<=", 0.01),
    Gate("sharpness", ">=", 0.8),
    Gate("sync", ">=", 0.01, lenient=True),
    Gate("identity_dist", "<=", 0.48, lenient=True),
)

_FORM = re.compile(r"(?P<name>[A-Za-z_]+)\s*(?:(?P<sign>>=|<=)\s*(?P<limit>\S+)|=\s*(?P<exact>exact))")


def parse(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Limits from options: `sync>=0.8,frames=exact`; `default` for the recommended ones, `none` drops those before it.

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

    def __init__(self, models: "Models", *, threads: int) -> None:
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
            seed: of the render: it says which footage lies under a pasted face.

        Raises:
            VastError: `vast_bad_media`, `vast_input_missing`; what merely cannot be measured is a missed gate.
        """
        asked = {gate.name for gate in gates}
        figures = self._figures(video, audio, prompt, avatar, asked, limited_share, seed)
        told = {name: _told(name, figures["measures"], avatar) for name in asked - OF_THE_FILE}
        if "frames" in asked:
            told["frames"] = _frames(video, n_frames)
        if "seam" in asked:
            told["seam"] = self._seam(video, avatar, seed)
        missed: list[str] = []
        warnings: list[str] = []
        failed: set[str] = set()
        for gate in gates:
            one = told[gate.name]
            if one.value is None:
                lenient = one.reason == NO_BORDER or (gate.lenient and one.reason in NOTHING_TO_TELL)
                (warnings if lenient else missed).append(f"{gate.name} is not measured: {one.words}")
            elif not gate.passes(one.value):
                failed.add(gate.name)
                missed.append(gate.complaint(one.value) + (f": {one.words}" if one.words else ""))
        covered = {measure for name in failed for measure in NAMES[name].measures}
        warnings += [flag["text"] for flag in figures["flags"] if flag["measure"] not in covered]
        values = {name: told[name].value for name in NAMES if name in asked}
        return GateResult(values, tuple(missed), figures | {"gates": values}, tuple(warnings))

    def _figures(
        self,
        video: Path,
        audio: Path | None,
        prompt: Path | None,
        avatar: "renderer.Avatar",
        asked: Collection[str],
        limited_share: float | None,
        seed: int,
    ) -> dict[str, Any]:
        from vast_cli import media
        from vast_cli.evaluate import engine
        from vast_cli.evaluate.observation.clip import Pair

        measures = {measure for name in asked for measure in NAMES[name].measures}
        pair = Pair(
            video.stem,
            video,
            # what a viewer hears is judged, not what should have been heard
            audio=None if measures and media.probe(video).has_audio else audio,
            avatar=avatar.name,
            yardstick=self._yardstick(avatar),
            limited_share=limited_share,
        )
        tools = self._tools(frozenset(part for name in asked for part in NAMES[name].parts))
        figures = (
            engine.measure(pair, tools, only=measures, seed=seed).document if measures else engine.unmeasured(pair)
        )
        names = {"audio": audio, "style_reference": prompt}
        return figures | {role: None if path is None else str(path) for role, path in names.items()}

    def _tools(self, parts: frozenset[str]) -> "Tools":
        from vast_cli.evaluate.observation.clip import Tools
        from vast_cli.evaluate.observation.images import Judges

        judges = Judges(
            self._lagsync if "mouth" in parts else None, self._descriptor if "descriptors" in parts else None
        )
        return Tools(self._models, judges, threads=self._threads, controls=False, parts=parts)

    @functools.cached_property
    def _lagsync(self) -> "sync.LagSync":
        from vast_cli import sync

        return sync.load_lagsync()

    @functools.cached_property
    def _descriptor(self) -> "Descriptor | None":
        from vast_cli.evaluate.external.descriptor import load_descriptor

        return load_descriptor()

    def _seam(self, video: Path, avatar: "renderer.Avatar", seed: int) -> "_Told":
        from vast_cli.gates.seam import measure_seam

        value = measure_seam(video, avatar, self._models.face_model, seed=seed)
        return _Told(value, None if value is not None else NO_BORDER, "" if value else "a portrait has no paste border")

    def _yardstick(self, avatar: "renderer.Avatar") -> "Yardstick | None":
        from vast_cli.evaluate.footage.statistics import Yardstick

        return None if avatar.yardstick is None else Yardstick.of_document(avatar.yardstick)


@dataclass(frozen=True)
class _Told:
    """A gate's value, or why there is none; words that say more than the number."""

    value: float | None
    reason: str | None = None
    words: str = ""


def _told(name: str, measures: Mapping[str, Mapping[str, Any]], avatar: "renderer.Avatar") -> _Told:
    if name == "sync":
        return _sync(measures["lagsync_margin"], measures["lagsync_lag"], avatar)
    measure = measures[name]
    if measure["value"] is not None:
        value = abs(measure["value"]) if name == "av_length_diff_ms" else measure["value"]
        return _Told(value)
    if measure["reason"] == "no_reference":
        return _no_footage(avatar)
    return _Told(None, measure["reason"], measure["hint"])


def _sync(margin: Mapping[str, Any], lag: Mapping[str, Any], avatar: "renderer.Avatar") -> _Told:
    """How clearly mouth and sound fit, over the footage's own; 0 if off by more than a frame."""
    if lag["value"] is None or margin["value"] is None:
        return _Told(None, margin["reason"], margin["hint"])
    if abs(lag["value"]) > MAX_LAG:
        return _Told(0.0, words=f"the picture is {lag['value']:+.0f} frames late")
    real = margin["controls"].get("real")
    return _Told(margin["value"] / real) if real else _no_footage(avatar)


def _no_footage(avatar: "renderer.Avatar") -> _Told:
    """A ratio without its divisor: the footage was never measured, or it is mute or too short for this."""
    if avatar.yardstick is not None:
        return _Told(None, "not_in_footage", f"the footage of avatar `{avatar.name}` does not tell it")
    hint = "`vast fit-renderer` and `python -m vast_cli.evaluate.yardstick` measure it"
    return _Told(None, "no_footage", f"the footage of avatar `{avatar.name}` was never measured: {hint}")


def _frames(video: Path, planned: int) -> _Told:
    """Frames too many or too few, and frames that come at a wrong time."""
    from vast_cli.media.count import count_frames

    found, irregular = count_frames(video)
    words = [f"{found} frames decode, {planned} were planned"] if found != planned else []
    words += [f"{irregular} do not follow the one before by 40 ms"] if irregular else []
    return _Told(float(abs(found - planned) + irregular), words=", ".join(words))
