"""Measures a finished video for its gates, as `vast evaluate` would; ratios are to the avatar's own footage."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vast_cli.gates.limits import MAX_LAG, NAMES, Gate

if TYPE_CHECKING:
    from vast_cli import renderer, sync
    from vast_cli.evaluate.external.descriptor import DlibDescriptor
    from vast_cli.evaluate.footage.statistics import FootageStatistics
    from vast_cli.evaluate.observation.observe import Tools
    from vast_cli.pipeline.models import Models

UNMEASURABLE: Final = frozenset({"too_short", "no_speech", "no_silence", "no_weights", "not_in_footage"})
NO_BORDER: Final = "no_border"
OF_THE_FILE: Final = frozenset({"frames", "seam"})  # measured here, not by `vast evaluate`


@dataclass(frozen=True)
class GateResult:
    """Figures of one video, and the gates it fails.

    Attributes:
        values: by gate; None where it could not be measured.
        missed: a message for each gate that fails, or that could not be measured and is not lenient.
        figures: the clip's part of an evaluation document (an item of `clips` in `vast.evaluate/1`).
        warnings: a message for each figure that fails no gate but is worth a look.
    """

    values: dict[str, float | None]
    missed: tuple[str, ...]
    figures: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A rendered video before it gets its name.

    Attributes:
        path: the video.
        avatar: whose footage ratios are taken to.
        n_frames: frames that were planned.
        audio: the audio spoken, for a video without any of its own.
        prompt: named in the figures.
        limited_share: share of frames limited to the avatar's range, from the render's result.
        seed: of the render: it decides which footage lies under a pasted face.
    """

    path: Path
    avatar: "renderer.Avatar"
    n_frames: int
    audio: Path | None = None
    prompt: Path | None = None
    limited_share: float | None = None
    seed: int = 0


class GateChecker:
    """Measures videos; loads the networks it measures with when a gate first needs them.

    Args:
        models: loaded networks of the renderer.
        threads: CPU threads, for networks and decoding.
    """

    def __init__(self, models: "Models", *, threads: int) -> None:
        self._models = models
        self._threads = max(1, threads)

    def measure(self, video: Candidate, gates: Sequence[Gate]) -> GateResult:
        """Measure what `gates` limit, and nothing else.

        Raises:
            VastError: `vast_bad_media`, `vast_input_missing`; a figure that cannot be measured is a missed gate.
        """
        names = {gate.name for gate in gates}
        figures = self._figures(video, names)
        results = {name: _value(name, figures["measures"], video.avatar) for name in names - OF_THE_FILE}
        if "frames" in names:
            results["frames"] = _frames(video.path, video.n_frames)
        if "seam" in names:
            results["seam"] = self._seam(video)
        missed: list[str] = []
        warnings: list[str] = []
        failed: set[str] = set()
        for gate in gates:
            result = results[gate.name]
            if result.value is None:
                lenient = result.reason == NO_BORDER or (gate.lenient and result.reason in UNMEASURABLE)
                (warnings if lenient else missed).append(f"{gate.name} is not measured: {result.note}")
            elif not gate.passes(result.value):
                failed.add(gate.name)
                missed.append(gate.describe_miss(result.value) + (f": {result.note}" if result.note else ""))
        covered = {measure for name in failed for measure in NAMES[name].measures}
        warnings += [flag["text"] for flag in figures["flags"] if flag["measure"] not in covered]
        values = {name: results[name].value for name in NAMES if name in names}
        return GateResult(values, tuple(missed), figures | {"gates": values}, tuple(warnings))

    def _figures(self, video: Candidate, names: Collection[str]) -> dict[str, Any]:
        from vast_cli import media
        from vast_cli.evaluate import engine
        from vast_cli.evaluate.documents import unmeasured_document
        from vast_cli.evaluate.observation.clip import Pair

        measures = {measure for name in names for measure in NAMES[name].measures}
        pair = Pair(
            video.path.stem,
            video.path,
            # measures the audio that a viewer hears, not the one that was requested
            audio=None if measures and media.probe(video.path).has_audio else video.audio,
            avatar=video.avatar.name,
            footage_statistics=self._footage_statistics(video.avatar),
            limited_share=video.limited_share,
        )
        tools = self._tools(frozenset(part for name in names for part in NAMES[name].parts))
        figures = (
            engine.measure(pair, tools, only=measures, seed=video.seed).document
            if measures
            else unmeasured_document(pair)
        )
        inputs = {"audio": video.audio, "style_reference": video.prompt}
        return figures | {role: None if path is None else str(path) for role, path in inputs.items()}

    def _tools(self, parts: frozenset[str]) -> "Tools":
        from vast_cli.evaluate.observation.frames import ObserverNetworks
        from vast_cli.evaluate.observation.observe import Tools

        networks = ObserverNetworks(
            self._lagsync if "mouth" in parts else None, self._descriptor if "descriptors" in parts else None
        )
        return Tools(self._models, networks, threads=self._threads, controls=False, parts=parts)

    @functools.cached_property
    def _lagsync(self) -> "sync.LagSync":
        from vast_cli import sync

        return sync.load_lagsync()

    @functools.cached_property
    def _descriptor(self) -> "DlibDescriptor | None":
        from vast_cli.evaluate.external.descriptor import load_descriptor

        return load_descriptor()

    def _seam(self, video: Candidate) -> "_Value":
        from vast_cli.gates.seam import measure_seam

        value = measure_seam(video.path, video.avatar, self._models.face_model, seed=video.seed)
        return _Value(
            value, None if value is not None else NO_BORDER, "" if value else "a portrait has no paste border"
        )

    def _footage_statistics(self, avatar: "renderer.Avatar") -> "FootageStatistics | None":
        from vast_cli.evaluate.footage.statistics import FootageStatistics

        return None if avatar.footage_statistics is None else FootageStatistics.of_document(avatar.footage_statistics)


@dataclass(frozen=True)
class _Value:
    """What a gate limits: the value, or why there is none, and a note that says more than the number."""

    value: float | None
    reason: str | None = None
    note: str = ""


def _value(name: str, measures: Mapping[str, Mapping[str, Any]], avatar: "renderer.Avatar") -> _Value:
    if name == "sync":
        return _sync(measures["lagsync_margin"], measures["lagsync_lag"], avatar)
    measure = measures[name]
    if measure["value"] is not None:
        value = abs(measure["value"]) if name == "av_length_diff_ms" else measure["value"]
        return _Value(value)
    if measure["reason"] == "no_reference":
        return _no_footage(avatar)
    return _Value(None, measure["reason"], measure["hint"])


def _sync(margin: Mapping[str, Any], lag: Mapping[str, Any], avatar: "renderer.Avatar") -> _Value:
    """How clearly lips and audio fit, over the footage's own; 0 if they are off by more than a frame."""
    if lag["value"] is None or margin["value"] is None:
        return _Value(None, margin["reason"], margin["hint"])
    if abs(lag["value"]) > MAX_LAG:
        return _Value(0.0, note=f"the video is {lag['value']:+.0f} frames late")
    real = margin["controls"].get("real")
    return _Value(margin["value"] / real) if real else _no_footage(avatar)


def _no_footage(avatar: "renderer.Avatar") -> _Value:
    """A ratio without a divisor: the footage was never measured, or it is mute or too short for this measure."""
    if avatar.footage_statistics is not None:
        return _Value(None, "not_in_footage", f"the footage of avatar `{avatar.name}` does not have it")
    hint = "`vast fit-renderer` and `python -m vast_cli.evaluate.footage.measure` measure it"
    return _Value(None, "no_footage", f"the footage of avatar `{avatar.name}` was never measured: {hint}")


def _frames(video: Path, planned: int) -> _Value:
    """Frames too many or too few, plus frames at a wrong time."""
    from vast_cli.media.count import count_frames

    decoded, irregular = count_frames(video)
    notes = [f"{decoded} frames decode, {planned} were planned"] if decoded != planned else []
    notes += [f"{irregular} do not follow the one before by 40 ms"] if irregular else []
    return _Value(float(abs(decoded - planned) + irregular), note=", ".join(notes))
