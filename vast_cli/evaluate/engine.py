"""From pairs of videos to one document: every clip measured, the set summed up, the controls checked."""

import math
import multiprocessing
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vast_cli import __version__
from vast_cli.core.errors import VastError
from vast_cli.core.progress import Progress, silent
from vast_cli.core.text import suggest
from vast_cli.core.timebase import FPS
from vast_cli.evaluate import statistics
from vast_cli.evaluate.external.models import ExternalModelOptions, ExternalModels
from vast_cli.evaluate.flags import flags
from vast_cli.evaluate.measures import registry
from vast_cli.evaluate.measures.spec import Reading, Spec, in_order, null, skill
from vast_cli.evaluate.observation import points as landmarks
from vast_cli.evaluate.observation.clip import Observation, Pair, Tools, load_networks, observe
from vast_cli.evaluate.observation.crop import SIDE
from vast_cli.evaluate.observation.tracking import TrackedVideo
from vast_cli.pipeline.models import Models

SCHEMA = "vast.evaluate/1"
DIGITS = 4  # of series
MOUTH_SQUARE = 2.2  # lip widths
TARGETS = {"nearer_0": 0.0, "nearer_1": 1.0}  # a limit on these is the distance allowed


@dataclass(frozen=True)
class Settings:
    """How to evaluate: fields of `Tools` and the external judges."""

    seed: int = 0
    threads: int = 2
    controls: bool = True
    styles: bool = False
    which: str = "largest"
    external: ExternalModelOptions = field(default_factory=ExternalModelOptions)


@dataclass(frozen=True)
class ClipResult:
    """A clip's share of the document, and what measures of sets need of it."""

    document: dict[str, Any]
    readings: dict[str, Reading]
    collected: dict[str, Any]


def make_tools(settings: Settings) -> Tools:
    """Load what all clips share."""
    return Tools(
        models=Models(),
        networks=load_networks(),
        external=ExternalModels.load(settings.external),
        threads=settings.threads,
        controls=settings.controls,
        styles=settings.styles,
        which=settings.which,
    )


def measure(
    pair: Pair,
    tools: Tools,
    *,
    only: Collection[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> ClipResult:
    """One clip.

    Args:
        pair: the clip.
        tools: networks; `tools.parts` must hold what the measures in `only` read.
        only: names of measures; all, and what sets of clips need, if not given.
        seed: of everything random.
        progress: told of every frame.

    Raises:
        VastError: files that are missing or no media.
    """
    clip = observe(pair, tools, seed=seed, progress=progress)
    readings = registry.read(clip, only)
    return ClipResult(_document(clip, readings), readings, registry.collect(clip) if only is None else {})


def evaluate(
    pairs: Sequence[Pair],
    settings: Settings,
    *,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """All clips, and what they say together.

    A clip that cannot be read is in the document with its error; the others go on. A single one raises.

    Args:
        pairs: what to evaluate.
        settings: how.
        workers: processes; with more than one, each works on a clip of its own.
        progress: told of clips, or with one clip of its frames.

    Returns:
        The document of `vast evaluate --json`.

    Raises:
        VastError: of a single pair; of the judges' files.
    """
    measured: list[ClipResult] = []
    documents: list[dict[str, Any]] = []
    for done, (pair, result) in enumerate(_measured(pairs, settings, workers, progress), start=1):
        if isinstance(result, VastError):
            if len(pairs) == 1:
                raise result
            documents.append(_names(pair) | {"error": result.as_dict(), "measures": {}, "flags": [], "series": None})
        else:
            measured.append(result)
            documents.append(result.document)
        if len(pairs) > 1:
            progress("evaluate", done, len(pairs))
    return {
        "schema": SCHEMA,
        "version": f"vast {__version__}",
        "seed": settings.seed,
        "set": {
            "clips": len(measured),
            "failed": len(pairs) - len(measured),
            "frames": sum(one.document["frames"] for one in measured),
            "speakers": len({one.document["speaker"] for one in measured} - {None}) or None,
            "fps": FPS,
            "crop": SIDE,
            "resize": "area down, cubic up",
            "models": _model_names(measured),
        },
        "measures": _summary(measured, seed=settings.seed),
        "clips": documents,
    }


def _measured(
    pairs: Sequence[Pair], settings: Settings, workers: int, progress: Progress
) -> Iterator[tuple[Pair, "ClipResult | VastError"]]:
    """Results in the order of the pairs."""
    if workers == 1 or len(pairs) == 1:
        tools = make_tools(settings)
        torch.set_num_threads(settings.threads)
        for pair in pairs:
            tell = progress if len(pairs) == 1 else silent
            yield pair, _caught(partial(measure, pair, tools, seed=settings.seed, progress=tell))
        return
    make_tools(settings)  # a fault in what was supplied is told once, here
    pending = list(pairs)
    while pending:
        with _pool(settings, min(workers, len(pending))) as pool:
            futures = [pool.submit(_work, pair) for pair in pending]
            for i, future in enumerate(futures):
                try:
                    yield pending[i], future.result()
                except BrokenProcessPool:  # a process died and took the others' work along
                    suspect, pending = pending[i], pending[i + 1 :]
                    break
            else:
                return
        yield suspect, _by_itself(suspect, settings)


@contextmanager
def _pool(settings: Settings, workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # torch and threads do not survive a fork
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(settings,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _by_itself(pair: Pair, settings: Settings) -> "ClipResult | VastError":
    """Measure a clip in a process that may die."""
    with _pool(settings, 1) as pool:
        try:
            return pool.submit(_work, pair).result()
        except BrokenProcessPool:
            return VastError("vast_worker_died", f"the process that measured `{pair.output}` died")


def _caught(work: "Callable[[], ClipResult]") -> "ClipResult | VastError":
    try:
        return work()
    except VastError as error:
        return error


_TOOLS: tuple[Tools, int] | None = None


def _start(settings: Settings) -> None:
    """Once in every worker."""
    global _TOOLS
    torch.set_num_threads(1)
    _TOOLS = make_tools(settings), settings.seed


def _work(pair: Pair) -> "ClipResult | VastError":
    assert _TOOLS is not None
    tools, seed = _TOOLS
    return _caught(partial(measure, pair, tools, seed=seed))


# --- documents ------------------------------------------------------------------------------------------------------


def _names(pair: Pair) -> dict[str, Any]:
    def text(path: object) -> str | None:
        return None if path is None else str(path)

    return {
        "id": pair.id,
        "output": str(pair.output),
        "reference": text(pair.reference),
        "audio": text(pair.audio),
        "style_reference": text(pair.style_reference),
        "footage": text(pair.footage),
        "speaker": pair.speaker,
        "avatar": pair.avatar,
    }


def unmeasured(pair: Pair) -> dict[str, Any]:
    """A clip's share of the document when nothing was asked of it."""
    return _names(pair) | {"error": None, "measures": {}, "flags": [], "notes": [], "series": None}


def _document(clip: Observation, readings: dict[str, Reading]) -> dict[str, Any]:
    made, truth, sound = clip.made, clip.truth, clip.sound
    n = made.n_frames
    return {
        **_names(clip.pair),
        "frames": n,
        "duration_s": n / FPS,
        "width": made.width,
        "height": made.height,
        "source_fps": made.source_fps,
        "truncated": made.truncated,
        "frames_lost": int((~made.present).sum()),
        "mouth_box": _mouth_box(made),
        "reference_mouth_box": None if truth is None else _mouth_box(truth),
        "notes": _notes(clip),
        "measures": {name: told.document() for name, told in readings.items()},
        "flags": flags(readings),
        "series": {
            "fps": FPS,
            "lip_gap": _series(landmarks.lip_gap(made.points)),
            "reference_lip_gap": None if truth is None else _series(landmarks.lip_gap(truth.points)),
            "loudness": None if sound is None else _series(sound.loudness(n)),
            "speech": None if sound is None else [int(x) for x in sound.speech(n)],
        },
        "error": None,
    }


def _mouth_box(sight: TrackedVideo) -> list[int] | None:
    """Left, top, right, bottom of a square around the clip's mouths, pixels of the picture; for contact sheets."""
    if not sight.present.any():
        return None
    lips = sight.points[sight.present][:, landmarks.MOUTH]
    x, y = np.median(lips.mean(1), axis=0)
    half = MOUTH_SQUARE / 2 * float(np.median(np.ptp(lips[..., 0], axis=1)))
    left, top = max(0, round(x - half)), max(0, round(y - half))
    return [left, top, min(sight.width, round(x + half)), min(sight.height, round(y + half))]


def _notes(clip: Observation) -> list[str]:
    """What a reader of the figures should know."""
    found = []
    if clip.unpaired_hint is not None:
        found.append(f"not compared picture by picture: {clip.unpaired_hint}")
    if clip.truth is not None and clip.truth_sound is None:
        found.append("the reference has no sound; the controls of sync use the output's")
    if clip.truth is not None and clip.unpaired is None and clip.made.n_frames != clip.truth.n_frames:
        found.append("output and reference differ by a frame, which is left out")
    if clip.made.truncated:
        found.append("the file breaks off before its end")
    if abs(clip.made.source_fps - FPS) > 0.01:
        found.append(f"{clip.made.source_fps:.2f} frames a second, converted to 25 by time stamp")
    return found


def _series(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(x), DIGITS) if math.isfinite(x) else None for x in values]


def _model_names(measured: Sequence[ClipResult]) -> dict[str, str]:
    names: dict[str, str] = {}
    for one in measured:
        names.update(one.collected.get("models", {}))
    return names


def _summary(measured: Sequence[ClipResult], *, seed: int) -> dict[str, Any]:
    speakers = [one.document["speaker"] for one in measured]
    pooled = registry.pool([one.collected for one in measured])
    found = {}
    for name, spec in registry.SPECS.items():
        if name in registry.SET_SPECS:
            told = pooled.get(name, null("not_asked"))
            found[name] = _entry(spec, told, ci95=told.ci95, n=told.n if told.value is not None else 0)
            continue
        readings = [one.readings.get(name, null("not_asked")) for one in measured]
        known = [(told, who) for told, who in zip(readings, speakers, strict=True) if told.value is not None]
        if not known:
            why = Counter((told.reason, told.hint) for told in readings).most_common(1)
            reason, hint = why[0][0] if why else ("too_few_clips", None)
            found[name] = _entry(spec, null(reason or "not_asked", hint), ci95=None, n=0)
            continue
        values = [float(told.value) for told, _ in known if told.value is not None]
        groups = [who for _, who in known]
        named = None if None in groups else [str(who) for who in groups]
        mean = Reading(float(np.mean(values)), controls=_mean_controls([told for told, _ in known]))
        found[name] = _entry(spec, mean, ci95=statistics.interval(values, groups=named, seed=seed), n=len(values))
    return found


def _mean_controls(readings: Sequence[Reading]) -> dict[str, float | None]:
    """Means over the clips in which a control was measured beside the value."""
    names = list(dict.fromkeys(name for told in readings for name in told.controls))
    found: dict[str, float | None] = {}
    for name in names:
        values = [value for told in readings if (value := told.controls.get(name)) is not None]
        found[name] = float(np.mean(values)) if values else None
    return found


def _entry(spec: Spec, told: Reading, *, ci95: tuple[float, float] | None, n: int) -> dict[str, Any]:
    controls = dict(told.controls)
    # without a truth the controls are made from the output: it stands in their chains, but is no ceiling
    ordered = in_order(spec, {"real": told.value, **controls, "made": told.value})
    reason, hint = told.reason, told.hint
    if told.value is not None and ordered is False:
        reason, hint = "control_failed", "its controls are not in order on these clips: do not trust it here"
    return {
        "value": told.value,
        "ci95": None if ci95 is None else list(ci95),
        "n": n,
        "unit": spec.unit,
        "better": spec.better,
        "skill": skill(spec, told.value, controls),
        "version": spec.version,
        "ceiling": controls.get(spec.ceiling or ""),
        "floor": controls.get(spec.floor or ""),
        "controls": controls,
        "valid": False if told.value is None else True if spec.counts else ordered,
        "reason": reason,
        "hint": hint,
        "title": spec.title,
        "about": spec.about,
    }


# --- limits ---------------------------------------------------------------------------------------------------------


def check_limits(limits: Mapping[str, float]) -> None:
    """Refuse limits on what is no measure or has no bad direction.

    Raises:
        VastError: `vast_option_invalid`.
    """
    for name in limits:
        if name not in registry.SPECS:
            hint = suggest(name, registry.SPECS)
            raise VastError("vast_option_invalid", f"`{name}` is no measure", hint=hint)


def missed_limits(document: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """Which limits the set does not reach, in words; what cannot be measured never passes in silence."""
    missed = []
    for name, limit in limits.items():
        entry = document["measures"][name]
        value, target = entry["value"], TARGETS.get(entry["better"])
        if value is None:
            missed.append(f"{name} is not measured: {entry['reason']}")
        elif entry["better"] == "lower" and value > limit:
            missed.append(f"{name} is {value:.4g}, above {limit:g}")
        elif target is not None and abs(value - target) > limit:
            missed.append(f"{name} is {value:.4g}, more than {limit:g} from {target:g}")
        elif entry["better"] != "lower" and target is None and value < limit:
            missed.append(f"{name} is {value:.4g}, below {limit:g}")
    return missed
